"""Dead letters as a person sorts them: by reason and worker version, with what became of each. Pure."""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field, replace

from msgspec import structs

from stream_worker.contracts import dead_letter
from stream_worker.contracts.decode import DecodeRules, Undecodable, decode
from stream_worker.kafka.letters import Edit, Fate
from stream_worker.record import Record

MAX_LETTERS = 2_000
MAX_EDITED_BYTES = 64 * 1024
_SHOWN_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: its own place, what our headers say, and the original's bytes."""

    record: Record
    reason: str
    message: str
    topic: str
    partition: str
    offset: str
    worker: str
    is_cut: bool
    fate: Fate = Fate.OPEN
    marked_by: str = ""
    marked_at: int | None = None
    was_edited: bool = False

    @property
    def place(self) -> str:
        """Its name, as `stream-worker dlq` has it."""
        return f"{self.record.partition}/{self.record.offset}"

    @property
    def may_go_back(self) -> bool:
        """It was not sent back yet, and there is all of it."""
        return self.fate is Fate.OPEN and not self.is_cut

    @property
    def may_be_edited(self) -> bool:
        """There is all of it, and no more than a form takes."""
        return not self.is_cut and len(self.record.value or b"") <= MAX_EDITED_BYTES

    @property
    def original(self) -> Edit:
        """What an edit begins with: the key and the value as text, with a mark for each byte that is none."""
        record = self.record
        return Edit(*((part or b"").decode("utf-8", "replace").encode() for part in (record.key, record.value)))

    @property
    def key(self) -> str | None:
        return None if self.record.key is None else self.record.key.decode("utf-8", "backslashreplace")

    @property
    def text(self) -> str:
        """The value as text; what is no UTF-8 as escapes. At most 16 KiB of it."""
        return (self.record.value or b"")[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")

    @property
    def raw(self) -> str:
        """The value's first bytes as a hex dump, 16 a line."""
        value = (self.record.value or b"")[:1_024]
        rows = (value[start : start + 16] for start in range(0, len(value), 16))
        return "\n".join(
            f"{number * 16:06x}  {row.hex(' '):<47}  {''.join(chr(b) if 32 <= b < 127 else '.' for b in row)}"
            for number, row in enumerate(rows)
        )

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [(name, (value or b"").decode("utf-8", "backslashreplace")) for name, value in self.record.headers]


def read_letter(record: Record) -> Letter:
    values = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    return Letter(
        record=record,
        reason=values.get(dead_letter.REASON, "unknown"),
        message=values.get(dead_letter.MESSAGE, ""),
        topic=values.get(dead_letter.TOPIC, ""),
        partition=values.get(dead_letter.PARTITION, ""),
        offset=values.get(dead_letter.OFFSET, ""),
        worker=values.get(dead_letter.WORKER, ""),
        is_cut=dead_letter.TRUNCATED in values,
    )


def complaint(letter: Letter, edit: Edit, rules: DecodeRules) -> str:
    """Why the edited event would be a dead letter again; empty where it can be read. Names fields, never contents."""
    if len(edit.value) > MAX_EDITED_BYTES:
        return f"the event is longer than {MAX_EDITED_BYTES} bytes"
    found = decode(structs.replace(letter.record, key=edit.key, value=edit.value), rules)
    return found.detail if isinstance(found, Undecodable) else ""


@dataclass(frozen=True, slots=True)
class Mark:
    """What became of a letter, by whom, and when."""

    fate: Fate
    by: str
    at: int
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Return:
    """What sending letters back would do: `letters` go, `before` were sent back or dropped already, `cut` cannot."""

    letters: tuple[Letter, ...]
    before: int
    cut: int


@dataclass(slots=True)
class Letters:
    """The last letters; marks may come before their letter is read, as both are bounded."""

    _letters: OrderedDict[str, Letter] = field(default_factory=OrderedDict)
    _marks: OrderedDict[str, Mark] = field(default_factory=OrderedDict)

    def take(self, record: Record) -> None:
        headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
        if dead_letter.MARKS in headers:
            fate = Fate(headers.get(dead_letter.MARK, ""))
            by = headers.get(dead_letter.MARKED_BY, "")
            edited = dead_letter.MARKED_EDITED in headers
            self._marks[headers[dead_letter.MARKS]] = Mark(fate, by, record.timestamp_ms, edited)
        else:
            letter = read_letter(record)
            self._letters[letter.place] = letter
        while len(self._letters) > MAX_LETTERS:
            self._letters.popitem(last=False)
        while len(self._marks) > MAX_LETTERS:
            self._marks.popitem(last=False)

    def groups(self) -> list[tuple[tuple[str, str], int]]:
        """Reason and worker version with their number, most first."""
        return Counter((each.reason, each.worker) for each in self._letters.values()).most_common()

    def newest(self, reason: str = "", worker: str = "", limit: int = 100) -> list[Letter]:
        found = self._of(reason, worker)
        return sorted(found, key=lambda each: each.record.timestamp_ms, reverse=True)[:limit]

    def find(self, place: str) -> Letter | None:
        letter = self._letters.get(place)
        return None if letter is None else self._marked(letter)

    def by_original(self) -> dict[tuple[str, str], str]:
        """The letters' places by partition and offset of the originals."""
        return {(each.partition, each.offset): each.place for each in self._letters.values()}

    def going_back(self, reason: str = "", worker: str = "") -> Return:
        found = self._of(reason, worker)
        return Return(
            letters=tuple(each for each in found if each.may_go_back),
            before=sum(1 for each in found if each.fate is not Fate.OPEN),
            cut=sum(1 for each in found if each.fate is Fate.OPEN and each.is_cut),
        )

    def since(self, at: int) -> int:
        return sum(1 for each in self._letters.values() if each.record.timestamp_ms >= at)

    def _of(self, reason: str, worker: str) -> list[Letter]:
        return [
            self._marked(each)
            for each in self._letters.values()
            if (not reason or each.reason == reason) and (not worker or each.worker == worker)
        ]

    def _marked(self, letter: Letter) -> Letter:
        found = self._marks.get(letter.place)
        if found is None:
            return letter
        return replace(letter, fate=found.fate, marked_by=found.by, marked_at=found.at, was_edited=found.edited)
