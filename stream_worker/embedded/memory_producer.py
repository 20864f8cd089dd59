"""A transactional producer in memory, step by step: what a worker does in one go, a test may leave open."""

from collections.abc import Callable, Mapping

from stream_worker.clock import Clock
from stream_worker.embedded.memory_group import MemberToken, MemoryGroup
from stream_worker.embedded.memory_log import Log
from stream_worker.embedded.memory_transactions import TransactionCoordinator
from stream_worker.record import Outgoing, Record


class RecordRefused(Exception):
    """The broker does not take a record."""


class MemoryProducer:
    """One epoch of a transactional id. Every step raises Fatal when a later producer has the same id."""

    def __init__(
        self,
        store: Callable[[Outgoing, int], tuple[Log, Record]],
        clock: Clock,
        coordinator: TransactionCoordinator,
        transactional_id: str,
        timeout_s: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._coordinator = coordinator
        self._id = transactional_id
        self._timeout_s = timeout_s
        self._epoch = coordinator.start(transactional_id)

    def begin(self) -> None:
        self._coordinator.begin(self._id, self._epoch, self._clock.monotonic() + self._timeout_s)

    def send(self, outgoing: Outgoing) -> int:
        """The record's offset. Raises RecordRefused."""
        transaction = self._coordinator.current(self._id, self._epoch)
        log, record = self._store(outgoing, transaction.number)
        if log not in transaction.logs:
            transaction.logs.append(log)
        return record.offset

    def send_offsets(self, group: MemoryGroup, offsets: Mapping[int, int], token: MemberToken) -> None:
        """Raises GroupMovedOn."""
        transaction = self._coordinator.current(self._id, self._epoch)
        group.hold(transaction.number, offsets, token)
        if group not in transaction.groups:
            transaction.groups.append(group)

    def commit(self) -> None:
        self._coordinator.end(self._id, self._epoch, committed=True)

    def abort(self) -> None:
        self._coordinator.end(self._id, self._epoch, committed=False)
