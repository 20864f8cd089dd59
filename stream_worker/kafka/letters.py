"""Dead letters as an operator sees them: what they are, what became of each, which ones are meant. Pure.

Nothing here holds or shows what a person wrote but `Letter.record`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from stream_worker.contracts import dead_letter as names
from stream_worker.contracts.headers import REDRIVE
from stream_worker.record import Outgoing, Record


class Fate(StrEnum):
    """What became of a letter."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One dead letter: `record` as it lies in the topic, and what its headers say of the original."""

    record: Record
    reason: str
    message: str
    bot: str
    source: str
    """Topic, partition and offset of the original."""
    order: tuple[str, int, int]
    is_truncated: bool
    fate: Fate = Fate.OPEN
    redrives: int = 0

    @property
    def place(self) -> str:
        """Its name: partition and offset in the dead-letter topic."""
        return f"{self.record.partition}/{self.record.offset}"

    @property
    def conversation(self) -> str:
        return (self.record.key or b"").decode(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which letters are meant; empty fields let everything through."""

    reasons: frozenset[str] = frozenset()
    since_ms: int = 0
    until_ms: int | None = None
    bot: str = ""
    conversation: str = ""
    places: frozenset[str] = frozenset()
    fates: frozenset[Fate] = frozenset({Fate.OPEN})

    def holds(self, letter: Letter) -> bool:
        at = letter.record.timestamp_ms
        return (
            (not self.reasons or letter.reason in self.reasons)
            and self.since_ms <= at
            and (self.until_ms is None or at < self.until_ms)
            and (not self.bot or letter.bot == self.bot)
            and (not self.conversation or letter.conversation == self.conversation)
            and (not self.places or letter.place in self.places)
            and letter.fate in self.fates
        )


@dataclass(slots=True)
class Letters:
    """All letters of the topic, fed with its records in the order of each partition.

    The topic is open to others: a mark that says nothing we know is passed over, and a letter whose headers are not
    ours is one of unknown origin.
    """

    _by_place: dict[str, Letter] = field(default_factory=dict)
    _marks: list[tuple[str, Fate]] = field(default_factory=list)

    def add(self, record: Record) -> None:
        headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
        if names.MARKS in headers:
            if headers.get(names.MARK) in set(Fate):
                self._marks.append((headers[names.MARKS], Fate(headers[names.MARK])))
            return
        letter = _letter(record, headers)
        self._by_place[letter.place] = letter

    def find(self, wanted: Wanted) -> list[Letter]:
        """Those that are meant, in the order of the originals: so they are redriven."""
        letters = dict(self._by_place)
        for place, fate in self._marks:
            if (letter := letters.get(place)) is not None:
                redrives = letter.redrives + (fate is Fate.REDRIVEN)
                letters[place] = replace(letter, fate=fate, redrives=redrives)
        return sorted(filter(wanted.holds, letters.values()), key=lambda letter: letter.order)


def _letter(record: Record, headers: dict[str, str]) -> Letter:
    topic, partition = headers.get(names.TOPIC, ""), headers.get(names.PARTITION, "-1")
    offset = headers.get(names.OFFSET, "-1")
    return Letter(
        record=record,
        reason=headers.get(names.REASON, ""),
        message=headers.get(names.MESSAGE, ""),
        bot=headers.get(names.BOT, ""),
        source=f"{topic}/{partition}/{offset}",
        order=(topic, _number(partition), _number(offset)),
        is_truncated=names.TRUNCATED in headers,
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1


@dataclass(frozen=True, slots=True)
class Edit:
    """What a person made of a letter's key and value."""

    key: bytes
    value: bytes


def redriven(letter: Letter, topic: str, edit: Edit | None = None) -> Outgoing:
    """The event again: as it came but for an edit, and with a `redrive` that is another one each time."""
    kept = [
        (name, value) for name, value in letter.record.headers if name != REDRIVE and not name.startswith(names.PREFIX)
    ]
    mark = f"{letter.place}/{letter.redrives + 1}".encode()
    headers = (*kept, (REDRIVE, mark))
    if edit is not None:
        return Outgoing(topic, edit.key, edit.value, headers)
    return Outgoing(topic, letter.record.key, letter.record.value, headers)


def mark(letter: Letter, topic: str, fate: Fate, by: str = "", *, edited: bool = False) -> Outgoing:
    """What says so from now on: the audit record of who (`by`) did it."""
    headers: tuple[tuple[str, bytes], ...] = ((names.MARKS, letter.place.encode()), (names.MARK, fate.value.encode()))
    if by:
        headers += ((names.MARKED_BY, by.encode()),)
    if edited:
        headers += ((names.MARKED_EDITED, b"1"),)
    return Outgoing(topic, letter.record.key, None, headers)


def batches(letters: Sequence[Letter], size: int) -> Iterable[Sequence[Letter]]:
    return (letters[start : start + size] for start in range(0, len(letters), size))
