"""The transaction coordinator in memory: transactional ids, their epochs, and what each has open.

Always holds:
- A transactional id has at most one open transaction, and only the latest epoch may touch it.
- A transaction that ends leaves one marker in every log that it wrote to, and its offsets count or are forgotten.
"""

from dataclasses import dataclass, field

from stream_worker.embedded.memory_group import MemoryGroup
from stream_worker.embedded.memory_log import Log
from stream_worker.errors import Code, Fatal


@dataclass(slots=True)
class Transaction:
    """An open transaction and what it has touched."""

    number: int
    deadline_s: float
    logs: list[Log] = field(default_factory=list)
    groups: list[MemoryGroup] = field(default_factory=list)

    def end(self, *, committed: bool) -> None:
        for log in self.logs:
            log.finish(self.number, committed=committed)
        for group in self.groups:
            group.finish(self.number, committed=committed)


class TransactionCoordinator:
    def __init__(self) -> None:
        self._epochs: dict[str, int] = {}
        self._open: dict[str, Transaction] = {}
        self._begun = 0

    def start(self, transactional_id: str) -> int:
        """Fences whoever used the id before and aborts what they left open; the new epoch."""
        self._abort(transactional_id)
        epoch = self._epochs.get(transactional_id, -1) + 1
        self._epochs[transactional_id] = epoch
        return epoch

    def begin(self, transactional_id: str, epoch: int, deadline_s: float) -> None:
        self._check(transactional_id, epoch)
        if transactional_id in self._open:
            raise RuntimeError(f"{transactional_id} has an open transaction already")
        self._begun += 1
        self._open[transactional_id] = Transaction(self._begun, deadline_s)

    def current(self, transactional_id: str, epoch: int) -> Transaction:
        """The open transaction of this epoch. Raises Fatal when a later one has taken over."""
        self._check(transactional_id, epoch)
        return self._open[transactional_id]

    def end(self, transactional_id: str, epoch: int, *, committed: bool) -> None:
        self.current(transactional_id, epoch).end(committed=committed)
        del self._open[transactional_id]

    def expire(self, now_s: float) -> None:
        """Aborts what is open for too long; its producer is fenced by that."""
        for transactional_id, transaction in list(self._open.items()):
            if now_s > transaction.deadline_s:
                self.start(transactional_id)

    def _abort(self, transactional_id: str) -> None:
        if (transaction := self._open.pop(transactional_id, None)) is not None:
            transaction.end(committed=False)

    def _check(self, transactional_id: str, epoch: int) -> None:
        if self._epochs[transactional_id] != epoch:
            raise Fatal(
                Code.FENCED,
                f"fenced: another process uses the transactional id {transactional_id}, or this one held a transaction "
                "open for longer than its timeout; give each process its own --instance",
            )
