"""One partition's log in memory: records, and the markers that end transactions.

Always holds:
- An offset is given once and never moves; a marker takes one, as in Kafka, so the offset after a committed record is
  usually not a record's.
- A committed reader sees nothing at or after the first offset of any open transaction, and nothing of an aborted one.
"""

from collections.abc import Iterator

from stream_worker.record import Outgoing, Record


class Log:
    """The log of one partition. Offsets are the indexes of its entries."""

    def __init__(self, topic: str, partition: int) -> None:
        self._topic = topic
        self._partition = partition
        self._entries: list[Record | None] = []  # None is a marker
        self._transaction_at: dict[int, int] = {}
        self._open: dict[int, int] = {}  # transaction → its first offset
        self._aborted: set[int] = set()
        self.start = 0

    @property
    def end(self) -> int:
        """The high watermark: one past the last entry, of open transactions, too."""
        return len(self._entries)

    @property
    def stable_end(self) -> int:
        """The last stable offset: how far a committed reader may read."""
        return min(self._open.values(), default=self.end)

    def append(self, outgoing: Outgoing, timestamp_ms: int, transaction: int | None = None) -> Record:
        """The record as it is stored."""
        offset = self.end
        if transaction is not None:
            self._transaction_at[offset] = transaction
            self._open.setdefault(transaction, offset)
        record = Record(
            self._topic, self._partition, offset, timestamp_ms, outgoing.key, outgoing.value, outgoing.headers
        )
        self._entries.append(record)
        return record

    def finish(self, transaction: int, *, committed: bool) -> None:
        """Writes the marker that ends a transaction here."""
        self._open.pop(transaction, None)
        if not committed:
            self._aborted.add(transaction)
        self._entries.append(None)

    def delete_before(self, offset: int) -> None:
        """What retention does: reading starts here from now on."""
        if not self.start <= offset <= self.end:
            raise ValueError(
                f"{self._topic}/{self._partition} has the offsets {self.start} to {self.end}, not {offset}"
            )
        self.start = offset

    def next_committed(self, position: int) -> tuple[Record | None, int]:
        """The first committed record at or after the position, and the position after it.

        Without one, the position passes what a committed reader skips: markers and aborted records.
        """
        for offset in range(position, self.stable_end):
            record = self._entries[offset]
            if record is not None and self._transaction_at.get(offset) not in self._aborted:
                return record, offset + 1
        return None, max(position, self.stable_end)

    def committed(self) -> Iterator[Record]:
        """What a committed reader sees from the start."""
        record, position = self.next_committed(self.start)
        while record is not None:
            yield record
            record, position = self.next_committed(position)

    def records(self) -> Iterator[Record]:
        """Every record, of open and aborted transactions, too."""
        return (record for record in self._entries[self.start :] if record is not None)
