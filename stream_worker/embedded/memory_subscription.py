"""The consumer of the input topic, in memory."""

from collections.abc import Sequence

from stream_worker.clock import Clock
from stream_worker.embedded.memory_broker import MemoryBroker
from stream_worker.embedded.memory_connection import MemoryConnection
from stream_worker.embedded.memory_group import MemberToken
from stream_worker.errors import ClientsBroken, Code
from stream_worker.kafka.protocols import Membership, RebalanceListener
from stream_worker.record import Record


class MemorySubscription:
    """`take` never waits: with nothing to take it returns at once, and only the clock's owner lets time pass.

    A sign of life is a `take`. A member that takes nothing for `session_timeout_s` loses its partitions, and hears of
    it at its next `take`; until then it takes itself for a member, as a process does that was stopped and goes on.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        connection: MemoryConnection,
        clock: Clock,
        *,
        group: str,
        topic: str,
        session_timeout_s: float,
    ) -> None:
        self._broker = broker
        self._connection = connection
        self._clock = clock
        self._group = broker.group(group, topic)
        self._logs = broker.logs(topic)
        self._session_timeout_s = session_timeout_s
        self._listener: RebalanceListener | None = None
        self._member: str | None = None
        self._generation: int | None = None
        self._owned: set[int] = set()
        self._paused: set[int] = set()
        self._next: dict[int, int] = {}  # where a started partition is read next
        self._started: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._in_call = False

    def join(self, listener: RebalanceListener) -> None:
        self._listener = listener

    def take(self, limit: int, wait_s: float) -> list[Record]:  # noqa: ARG002 - nothing waits here
        if not self._connection.is_up() or self._listener is None:
            return []
        # As the real client may: a callback is served between two records of one call.
        self._in_call = True
        first = self._fetch(1) if limit else []
        try:
            self._serve(self._listener)
        finally:
            self._in_call = False
        return [*(record for record in first if record.partition in self._next), *self._fetch(limit - len(first))]

    def start_at(self, partition: int, offset: int) -> None:
        if partition in self._owned:
            self._next[partition] = self._started[partition] = offset
            self._paused.discard(partition)

    def pause(self, partitions: Sequence[int]) -> None:
        self._paused.update(self._owned.intersection(partitions))

    def resume(self, partitions: Sequence[int]) -> None:
        self._paused.difference_update(partitions)

    def position(self, partition: int) -> int | None:
        if self._in_call:
            return None
        position = self._next.get(partition)
        return position if position != self._started.get(partition) else None

    def unreadable(self) -> dict[int, str]:
        return {}

    def high_watermark(self, partition: int) -> int | None:
        return self._ends.get(partition)

    def membership(self) -> Membership | None:
        """The generation is the group's newest that we belong to: a client learns of it without being polled."""
        if self._member is None:
            return None
        self._generation = self._group.generation_of(self._member) or self._generation
        return None if self._generation is None else Membership(MemberToken(self._member, self._generation))

    def leave(self, deadline_s: float) -> None:  # noqa: ARG002 - nothing waits here
        if self._owned and self._listener is not None:
            self._listener.revoked(sorted(self._owned))
        self.close()

    def close(self) -> None:
        self._listener = None
        self._forget(set(self._owned))
        if self._member is not None and not self._broker.down:
            self._group.leave(self._member)
        self._member = self._generation = None

    def _serve(self, listener: RebalanceListener) -> None:
        if self._member is None:
            self._member = self._group.join(self._clock.monotonic(), self._session_timeout_s)
        if not self._group.knows(self._member):
            self._lose(listener)
            return
        assignment = self._group.poll(self._member, frozenset(self._owned), self._clock.monotonic())
        self._generation = self._group.generation_of(self._member)
        if assignment is None:
            return
        if moved := self._owned - assignment:
            listener.revoked(sorted(moved))
            self._forget(moved)
            self._group.rejoin(self._member)
        if added := assignment - self._owned:
            self._owned |= added
            listener.assigned(sorted(added))

    def _lose(self, listener: RebalanceListener) -> None:
        """The session is over. The group is joined again at the next `take`."""
        lost = sorted(self._owned)
        self._member = self._generation = None
        self._forget(set(lost))
        if lost:
            listener.lost(lost)

    def _forget(self, partitions: set[int]) -> None:
        self._owned -= partitions
        self._paused -= partitions
        for partition in partitions:
            for each in (self._next, self._started, self._ends):
                each.pop(partition, None)

    def _fetch(self, limit: int) -> list[Record]:
        """Partition after partition; the one that was read longest ago comes first."""
        records: list[Record] = []
        for partition in list(self._next):
            if partition not in self._paused and len(records) < limit:
                records += self._fetch_partition(partition, limit - len(records))
        return records

    def _fetch_partition(self, partition: int, limit: int) -> list[Record]:
        log = self._logs[partition]
        position = self._next.pop(partition)
        if not log.start <= position <= log.end:
            raise ClientsBroken(
                Code.OFFSET_BELOW_START,
                f"the next record to read, {position} of partition {partition}, is not in the topic any more",
            )
        self._ends[partition] = log.end
        records: list[Record] = []
        while len(records) < limit:
            record, position = log.next_committed(position)
            if record is None:
                break
            records.append(record)
        self._next[partition] = position
        return records
