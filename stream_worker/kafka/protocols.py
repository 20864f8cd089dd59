"""What the worker needs of Kafka, as protocols: the real edge and the in-memory edge both provide them.

All methods are called by the worker thread only. The order of a partition's
life: `assigned` → `Offsets.ask` → `ChangelogReader` → first transaction →
`Subscription.start_at` → records → `revoked` or `lost`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from stream_worker.record import Outgoing, Record


class RebalanceListener(Protocol):
    """Called from within `Subscription.take` and `leave`. Must not raise: an exception there is a bug."""

    def assigned(self, partitions: Sequence[int]) -> None:
        """The partitions are ours; nothing of them is read before `start_at`."""
        ...

    def revoked(self, partitions: Sequence[int]) -> None:
        """The last moment: when this returns the partitions are given to others."""
        ...

    def lost(self, partitions: Sequence[int]) -> None:
        """They are already others'. Nothing of them may be committed."""
        ...


@dataclass(frozen=True, slots=True)
class Membership:
    """Our membership of the group at this moment; opaque. Taken anew for each transaction."""

    token: object


class Subscription(Protocol):
    """The consumer of the input topic."""

    def join(self, listener: RebalanceListener) -> None:
        """Joins the group. Assignments arrive during `take`."""
        ...

    def take(self, limit: int, wait_s: float) -> list[Record]:
        """At most `limit` records; waits `wait_s` only while there is none. Serves the listener.

        With a limit of 0 the listener is served, and a partition that is not paused may still give one record.

        Raises ClientsBroken when the client is beyond repair, Fatal when access is refused.
        """
        ...

    def start_at(self, partition: int, offset: int) -> None:
        """Reads an assigned partition from exactly this offset on."""
        ...

    def pause(self, partitions: Sequence[int]) -> None:
        """Stops fetching; what was fetched is thrown away. Dear: for stops of seconds."""
        ...

    def resume(self, partitions: Sequence[int]) -> None: ...

    def position(self, partition: int) -> int | None:
        """One past the last record that `take` has returned, control records passed, too.

        None before the first record after `start_at`, and while the listener is served: records that the client has
        handed out may not have been returned by then.
        """
        ...

    def high_watermark(self, partition: int) -> int | None:
        """The partition's end as of the last fetch, without asking the broker; None before the first."""
        ...

    def unreadable(self) -> Mapping[int, str]:
        """Partitions whose next records the client cannot read, with a sentence for a person; each once a minute."""
        ...

    def membership(self) -> Membership | None:
        """None while we are no member (the member id is empty): then nothing may be committed."""
        ...

    def leave(self, deadline_s: float) -> None:
        """Gives the partitions back (`revoked` is called), leaves the group even as a static member, closes."""
        ...

    def close(self) -> None:
        """Closes without the listener being called; for clients that are replaced."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFacts:
    """What is known of an input partition and its changelog when it is taken."""

    committed: int | None
    """The group's offset, with no transaction pending on it; None in a new group."""
    start: int
    end: int
    changelog_end: int
    """High watermark, open transactions included: taken after `committed` was stable."""
    topic_id: str
    partitions: int
    changelog_start: int = 0
    changelog_origin: str = ""
    """Cluster and topic id of the changelog: whose copy a local one must be."""


class Inquiry(Protocol):
    """A question to the broker that is looked at each tick."""

    def answer(self) -> PartitionFacts | None:
        """None while it is still open. Retries what can be retried; raises ClientsBroken, Fatal or PartitionRefused."""
        ...


class Offsets(Protocol):
    def ask(self, partition: int) -> Inquiry:
        """Starts to ask for the facts of a partition. Does not block."""
        ...


class ChangelogRecord(Struct, frozen=True):
    partition: int
    offset: int
    key: bytes
    value: bytes | None


class ChangelogReader(Protocol):
    """Reads changelog partitions, committed records only, up to a known end."""

    def open(self, partition: int, end: int, start: int = 0) -> None:
        """Starts to read a partition from `start` (0: its beginning, wherever that is) up to `end` (exclusive)."""
        ...

    def read(self, limit: int) -> list[ChangelogRecord]:
        """At most `limit` records of all open partitions, without waiting. Raises ClientsBroken."""
        ...

    def reached_end(self, partition: int) -> bool:
        """Whether the *position* passed the end: every record before it, of finished transactions, was returned."""
        ...

    def unreadable(self) -> Mapping[int, str]:
        """Partitions whose next records the client cannot read, with a sentence for a person; each once a minute."""
        ...

    def close(self, partition: int) -> None:
        """Stops reading a partition; unknown ones are ignored."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The content of one transaction. `offsets` are the group's next offsets of the input by partition."""

    records: Sequence[Outgoing]
    offsets: Mapping[int, int]
    membership: Membership
    ledgers: Mapping[int, int]
    """Index in `records` of each partition's ledger record, the last one of its partition."""


@dataclass(frozen=True, slots=True)
class Committed:
    """The transaction is committed; `positions` are the offsets of the ledger records in the changelog."""

    positions: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Aborted:
    """Nothing of it is visible, and it may be sent again. `rebalancing`: only because the group moved on."""

    cause: str
    rebalancing: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Aborted because the broker refuses a record, this one or one of the same producer batch."""

    cause: str


CommitResult = Committed | Aborted | Refused


class Transactions(Protocol):
    def start(self) -> None:
        """Fences a predecessor with our transactional id and ends its open transaction.

        Blocks, through the broker's waits. Raises Missing, Fatal or ClientsBroken.
        """
        ...

    def commit(self, batch: Batch, within_s: float | None = None) -> CommitResult:
        """Begin, send, offsets, commit. Calls are resumed while the error is retriable, `within_s` if that is given.

        Raises ClientsBroken when the producer is beyond repair, Fatal when we are fenced or access is refused.
        """
        ...


class Deltas(Protocol):
    """The second producer: previews, outside any transaction."""

    def send(self, record: Outgoing) -> bool:
        """False when the record was dropped: the queue is full, or the client does not take it. Never blocks."""
        ...

    def undelivered(self) -> int:
        """How many that were sent could not be delivered, since this was last asked."""
        ...

    def flush(self, deadline_s: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Clients:
    """One generation of clients. They are replaced together."""

    subscription: Subscription
    offsets: Offsets
    changelog: ChangelogReader
    transactions: Transactions
    deltas: Deltas


class Edge(Protocol):
    """Where clients come from: a real cluster or the memory of this process."""

    def open(self) -> Clients:
        """A new generation of clients; what an earlier one holds open is closed first."""
        ...

    def tend(self) -> None:
        """Lets clients that are idle tell of themselves. Called about once a second, outside transactions."""
        ...

    def max_record_bytes(self) -> Mapping[str, int]:
        """`max.message.bytes` of every topic we write, by topic. Raises Missing or Misconfigured."""
        ...

    def keeps_deletions_ms(self) -> int:
        """`delete.retention.ms` of the changelog."""
        ...

    def close(self) -> None: ...
