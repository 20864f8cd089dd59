"""What the templates show, worked out. Pure: each function makes values of the view's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import copysign
from types import MappingProxyType
from typing import Any

from stream_worker.console.board import Board
from stream_worker.console.conversation import Conversation, Line, Turn
from stream_worker.console.golden import SILENT, Step, said, understood
from stream_worker.console.vitals import Vitals
from stream_worker.contracts.analysis import Analysis, DecisionEvidence, SlotEvidence
from stream_worker.contracts.event import Handback, Handoff, Message
from stream_worker.contracts.metric import Timings
from stream_worker.outcome import Outcome

PAGE = 60


@dataclass(frozen=True, slots=True)
class Filter:
    """What the list of conversations is narrowed to; empty is everything."""

    q: str = ""
    intent: str = ""
    outcome: str = ""
    language: str = ""
    holder: str = ""
    masks: bool = False
    """Who may not read texts may not find out what stands in them by searching, either."""

    def fits(self, conversation: Conversation) -> bool:
        analysis = conversation.last_analysis
        return (
            (not self.holder or conversation.holder == self.holder)
            and (not self.intent or (analysis is not None and (analysis.intent or "out of scope") == self.intent))
            and (not self.language or (analysis is not None and analysis.language == self.language))
            and (not self.outcome or conversation.last_outcome == self.outcome)
            and (not self.q or _mentions(conversation, self.q.casefold(), masks=self.masks))
        )


def _mentions(conversation: Conversation, wanted: str, *, masks: bool) -> bool:
    """In the key, a sender's id or a text; masked, in the key alone."""
    if wanted in conversation.key.casefold():
        return True
    if masks:
        return False
    if any(wanted in each.casefold() for each in conversation.senders):
        return True
    texts = [line.text for line in conversation.lines.values()] + [turn.text for turn in conversation.turns.values()]
    return any(wanted in text.casefold() for text in texts)


@dataclass(frozen=True, slots=True)
class Listing:
    found: Sequence[Conversation]
    total: int
    intents: Sequence[str]
    languages: Sequence[str]
    next_start: int | None


def listing(board: Board, wanted: Filter, start: int) -> Listing:
    """A page of the conversations that fit, newest first."""
    everything = list(reversed(board.conversations.values()))
    found = [each for each in everything if wanted.fits(each)]
    analyses = [each.last_analysis for each in everything[:2_000]]
    intents = {(each.intent or "out of scope") for each in analyses if each is not None}
    languages = {each.language for each in analyses if each is not None and each.language}
    end = start + PAGE
    return Listing(found[start:end], len(found), sorted(intents), sorted(languages), end if end < len(found) else None)


@dataclass(frozen=True, slots=True)
class AtWork:
    """Turns of all workers: those that run, and those of them that wait for the engine's batch."""

    running: int
    queued: int


def at_work(vitals: Sequence[Vitals]) -> AtWork | None:
    """None where no worker's own metrics are known."""
    if not vitals:
        return None
    queued = sum(each.queued for each in vitals)
    return AtWork(sum(each.running for each in vitals) - queued, queued)


class Piece(StrEnum):
    """A piece of a turn's waterfall, in order."""

    WAITING = "mailbox"
    PARSE = "parse"
    UNDERSTAND = "understand"
    DIALOGUE = "dialogue"
    CALLS = "calls"
    QUEUED = "engine queue"
    FIRST_TOKEN = "first token"  # noqa: S105
    DECODE = "decode"
    REST = "rest"
    COMMIT = "commit"


@dataclass(frozen=True, slots=True)
class Bar:
    """`left` and `width` in percent of the whole."""

    name: Piece
    seconds: float
    left: float
    width: float


def waterfall(timings: Timings, outbox_s: float = 0.0) -> list[Bar]:
    """The turn from its record's timestamp to its transaction.

    The rest is what no stage counts: building the prompt, checking the reply, and what a busy worker adds.
    """
    stages = [
        (Piece.WAITING, timings.waiting),
        (Piece.PARSE, timings.parse),
        (Piece.UNDERSTAND, timings.understand),
        (Piece.DIALOGUE, timings.dialogue),
        (Piece.CALLS, timings.calls),
        (Piece.QUEUED, timings.queued),
        (Piece.FIRST_TOKEN, max(0.0, timings.first_token - timings.queued)),
        (Piece.DECODE, max(0.0, timings.generate - timings.first_token)),
    ]
    counted = sum(seconds for _, seconds in stages)
    parts = [*stages, (Piece.REST, max(0.0, timings.total - counted)), (Piece.COMMIT, outbox_s)]
    whole = sum(seconds for _, seconds in parts) or 1.0
    bars, at = [], 0.0
    for name, seconds in parts:
        bars.append(Bar(name, seconds, 100 * at / whole, 100 * seconds / whole))
        at += seconds
    return bars


@dataclass(frozen=True, slots=True)
class Mark:
    """A piece of a text: with the name of the slot that it fills, and how much it spoke for the decision.

    `level` is from -3, much against, to 3, much for; `why` says so in words.
    """

    text: str
    slot: str = ""
    level: int = 0
    why: str = ""


def marked(text: str, slots: Sequence[SlotEvidence], decision: DecisionEvidence | None = None) -> list[Mark]:
    """The text with its slots and its telling words marked, where their spans fit it."""
    filled = [
        (slot.start, slot.end, slot.name)
        for slot in slots
        if slot.start is not None and slot.end is not None and text[slot.start : slot.end] == slot.value
    ]
    words = [each for each in decision.words if each.end <= len(text)] if decision is not None else []
    most = max((abs(each.weight) for each in words), default=0.0) or 1.0
    borders = sorted(
        {0, len(text)}.union(*((start, end) for start, end, _ in filled), *((w.start, w.end) for w in words))
    )
    pieces = []
    for start, end in pairwise(borders):
        slot = next((name for first, last, name in filled if first <= start and end <= last), "")
        word = next((each for each in words if each.start <= start and end <= each.end), None)
        level = 0 if word is None else int(copysign(min(3, int(3 * abs(word.weight) / most + 0.5)), word.weight))
        why = (
            f"{'for' if level > 0 else 'against'} {decision.outcome}: {word.weight:.2f}"
            if word and decision and level
            else ""
        )
        pieces.append(Mark(text[start:end], slot, level, why))
    return pieces


def _decisive(analysis: Analysis) -> DecisionEvidence | None:
    """What spoke for the intent, or where there is none, for being out of scope."""
    wanted = "intent" if analysis.in_scope else "scope"
    return next((each for each in analysis.evidence if each.decision == wanted), None)


def entries(
    conversation: Conversation, letters: Mapping[tuple[str, str], str] = MappingProxyType({}), *, masks: bool = False
) -> Iterator[Mapping[str, Any]]:
    """The transcript: what is said at the left, its evidence at the right.

    `letters` are the places of dead letters by partition and offset of the events. What `masks` lets be masked is a
    text as a whole: marks would cut patterns in two.
    """
    events_of: dict[str, int] = {}
    for line in conversation.lines.values():
        events_of[line.turn_id] = events_of.get(line.turn_id, 0) + 1
    for entry in conversation.transcript():
        match entry:
            case Line():
                turn = conversation.turns.get(entry.turn_id)
                analysis = turn.analysis if turn is not None else None
                # Spans are code points of the turn's whole text: of one message, that is its own.
                is_whole = masks or analysis is None or events_of[entry.turn_id] != 1
                yield {
                    "kind": _kind(entry),
                    "line": entry,
                    "marks": [Mark(entry.text)]
                    if is_whole or analysis is None
                    else marked(entry.text, analysis.slots, _decisive(analysis)),
                    "letter": letters.get((str(entry.place[0]), str(entry.place[1]))),
                }
            case Turn():
                yield {
                    "kind": "turn",
                    "turn": entry,
                    "bars": waterfall(entry.metric.timings, entry.outbox_s) if entry.metric is not None else [],
                }


def _kind(line: Line) -> str:
    match line.arrival.event:
        case Message() as message:
            return message.sender.role.value
        case Handoff() | Handback():
            return "control"
        case _:
            return "event"


def golden_steps(conversation: Conversation) -> Iterator[Step]:
    """What was said and understood, as a test expects it."""
    for entry in conversation.transcript():
        match entry:
            case Line() if isinstance(entry.arrival.event, Message) and entry.role == "user":
                yield said(entry.text)
                if entry.metric is not None and entry.metric.outcome is Outcome.SILENT:
                    yield SILENT
            case Turn(analysis=analysis) if analysis is not None:
                yield understood(analysis)
