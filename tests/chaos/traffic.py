"""What people write: chat logs with their bursts, squeezed into the time of a run; or bursts drawn from a seed.

Now and then a human takes a conversation over, writes in it and gives it back, and a gateway sends a message twice.
"""

import lzma
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path

import orjson

_LONGEST_GAP_MS = 60_000
"""Nights and weekends of a log are left out."""
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
    said = _from_logs(chatlogs, chance, events) if chatlogs.is_dir() else list(_drawn(chance, events))
    longest = said[-1].at_s or 1.0
    paced = [replace(each, at_s=each.at_s / longest * seconds) for each in said]
    return sorted(_with_humans(chance, paced), key=lambda each: each.at_s)[:events]


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


def _from_logs(chatlogs: Path, chance: random.Random, events: int) -> list[Said]:
    """Each author of a room talks to the bot alone: their messages keep their bursts and their order."""
    files = sorted(chatlogs.glob("*.jsonl.xz"))
    lines = [line for file in files for line in _read(file)]
    start = chance.randrange(max(1, len(lines) - events))
    chosen = list(islice(lines, start, start + events))
    while len(chosen) < events:
        chosen += lines[: events - len(chosen)]
    said, at_ms, before = [], 0, chosen[0]
    for line in chosen:
        at_ms += min(_LONGEST_GAP_MS, max(0, line[0] - before[0]))
        before = line
        said.append(Said(at_ms / 1000, line[1], line[2]))
    return said


def _read(file: Path) -> Iterator[tuple[int, str, str]]:
    with lzma.open(file) as lines:
        for line in lines:
            message = orjson.loads(line)
            yield message["ts_ms"], f"{message['room']}:{message['user']}", message["text"]


def _drawn(chance: random.Random, events: int) -> Iterator[Said]:
    """Half of the messages follow the one before within moments, by the same person."""
    people: Sequence[str] = [f"c-{number}" for number in range(60)]
    at_s, person = 0.0, people[0]
    for number in range(events):
        if chance.random() < 0.5:
            at_s += chance.expovariate(20.0)
        else:
            at_s += chance.expovariate(2.0)
            person = chance.choice(people)
        yield Said(at_s, person, f"text {number}")
