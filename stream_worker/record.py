"""Kafka records as plain data: what comes in, and what is to go out."""

from msgspec import Struct

Headers = tuple[tuple[str, bytes | None], ...]


class Record(Struct, frozen=True):
    """One record as it was read; nothing is decoded."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    headers_readable: bool = True
    """Off where the client cannot hand the headers out: one has a name that is not UTF-8."""


class Outgoing(Struct, frozen=True):
    """One record to produce. Without a partition the key decides, with murmur2 as in Java."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None

    @property
    def size(self) -> int:
        """Upper bound of the record's bytes on the wire, uncompressed, without batch overhead."""
        size = len(self.key or b"") + len(self.value or b"") + 70
        for name, value in self.headers:
            size += len(name) + len(value or b"") + 10
        return size
