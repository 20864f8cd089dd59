"""What people write: chat logs with their bursts, many rooms side by side; or bursts drawn from a seed.

Now and then a human takes a conversation over, writes in it and gives it back, and a gateway sends a message twice.
"""

import lzma
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby
from pathlib import Path

import orjson

#: When something was said in milliseconds since the epoch, by whom, and what.
Line = tuple[int, str, str]
_SQUEEZED = 10
"""How much faster people write than they did: so that a message often meets the turn of the one before."""
_AGAIN_AFTER_S = 2.0
"""Late enough that what is sent twice has been answered, as a rule."""


class Kind(StrEnum):
    SAY = "say"
    AGAIN = "again"
    """The last message of the conversation is sent a second time."""
    HANDOFF = "handoff"
    AGENT = "agent"
    HANDBACK = "handback"


@dataclass(frozen=True, slots=True)
class Said:
    """Something said or done in a conversation, in seconds from the start of the run."""

    at_s: float
    conversation: str
    text: str
    kind: Kind = Kind.SAY


def traffic(chatlogs: Path, seed: int, events: int, seconds: float) -> list[Said]:
    """Messages of a stretch of the rooms' logs, or drawn bursts where there are no logs."""
    chance = random.Random(seed)
    said = _from_logs(chatlogs, chance, events, seconds) if chatlogs.is_dir() else _drawn(chance, events, seconds)
    return sorted(_with_humans(chance, said), key=lambda each: each.at_s)[:events]


def _with_humans(chance: random.Random, said: Sequence[Said]) -> Iterator[Said]:
    held: set[str] = set()
    for each in said:
        yield each
        drawn, conversation = chance.random(), each.conversation
        if conversation in held:
            if drawn < 0.3:
                yield Said(each.at_s, conversation, f"a human says {drawn:.4f}", Kind.AGENT)
            elif drawn < 0.6:
                held.remove(conversation)
                yield Said(each.at_s, conversation, "", Kind.HANDBACK)
        elif drawn < 0.01:
            held.add(conversation)
            yield Said(each.at_s, conversation, "", Kind.HANDOFF)
        elif drawn < 0.03:
            yield Said(each.at_s + _AGAIN_AFTER_S, conversation, "", Kind.AGAIN)


def _from_logs(chatlogs: Path, chance: random.Random, events: int, seconds: float) -> list[Said]:
    """Stretches of the rooms' logs, side by side. In each an author talks to the bot alone, in their own bursts."""
    stretches = list(_stretches(chatlogs, seconds * _SQUEEZED * 1000))
    said: list[Said] = []
    while len(said) < events:
        number = len(said)
        first_ms, lines = chance.choice(stretches)
        said += [Said((ms - first_ms) / 1000 / _SQUEEZED, f"{user}:{number}", text) for ms, user, text in lines]
    return sorted(said[:events], key=lambda each: each.at_s)


def _stretches(chatlogs: Path, length_ms: float) -> Iterator[tuple[int, list[Line]]]:
    """What was said in a room in each such time in which anything was, and when that time began."""
    for file in sorted(chatlogs.glob("*.jsonl.xz")):
        for slot, lines in groupby(_read(file), key=lambda line: line[0] // length_ms):
            yield int(slot * length_ms), list(lines)


def _read(file: Path) -> Iterator[Line]:
    with lzma.open(file) as lines:
        for line in lines:
            message = orjson.loads(line)
            yield message["ts_ms"], f"{message['room']}:{message['user']}", message["text"]


def _drawn(chance: random.Random, events: int, seconds: float) -> list[Said]:
    """Half of the messages follow the one before within moments, by the same person."""
    people: Sequence[str] = [f"c-{number}" for number in range(60)]
    said: list[Said] = []
    at_s, person = 0.0, people[0]
    for number in range(events):
        if chance.random() < 0.5:
            at_s += chance.expovariate(20.0)
        else:
            at_s += chance.expovariate(2.0)
            person = chance.choice(people)
        said.append(Said(at_s, person, f"text {number}"))
    longest = at_s or 1.0
    return [replace(each, at_s=each.at_s / longest * seconds) for each in said]
