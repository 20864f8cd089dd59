"""Dead letters as a person sorts them: by reason and worker version. Pure."""

from collections import Counter, deque
from dataclasses import dataclass, field

from stream_worker.contracts import dead_letter
from stream_worker.record import Record

MAX_LETTERS = 2_000
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

    @property
    def id(self) -> str:
        return f"{self.record.partition}-{self.record.offset}"

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


@dataclass(slots=True)
class Letters:
    _letters: deque[Letter] = field(default_factory=lambda: deque(maxlen=MAX_LETTERS))

    def take(self, record: Record) -> None:
        self._letters.append(read_letter(record))

    def groups(self) -> list[tuple[tuple[str, str], int]]:
        """Reason and worker version with their number, most first."""
        return Counter((each.reason, each.worker) for each in self._letters).most_common()

    def newest(self, reason: str = "", limit: int = 100) -> list[Letter]:
        found = [each for each in self._letters if not reason or each.reason == reason]
        return sorted(found, key=lambda each: each.record.timestamp_ms, reverse=True)[:limit]

    def find(self, letter_id: str) -> Letter | None:
        return next((each for each in self._letters if each.id == letter_id), None)

    def since(self, at: int) -> int:
        return sum(1 for each in self._letters if each.record.timestamp_ms >= at)
