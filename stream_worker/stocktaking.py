"""What the worker holds, counted about once a second: the snapshot that metrics and probes are made of.

Runs on the worker thread and asks nobody: ends of partitions are what the last fetch brought.
"""

from collections.abc import Mapping

from stream_worker.assignment import Assignment, Phase
from stream_worker.clock import Clock
from stream_worker.conversation.store import Store
from stream_worker.kafka.outbox import Outbox
from stream_worker.kafka.protocols import Subscription
from stream_worker.observer import Snapshot
from stream_worker.turns import Turns


class Stocktaking:
    def __init__(
        self, *, assignments: Mapping[int, Assignment], turns: Turns, outbox: Outbox, store: Store, clock: Clock
    ) -> None:
        self._assignments = assignments
        self._turns = turns
        self._outbox = outbox
        self._store = store
        self._clock = clock
        self._standing: dict[int, tuple[int, float]] = {}
        """Where each partition's group offset stands, and since when (monotonic)."""

    def snapshot(self, subscription: Subscription, *, paused: int) -> Snapshot:
        lags: dict[int, int] = {}
        ages: dict[int, float] = {}
        for partition, assignment in self._assignments.items():
            offset = group_offset(assignment)
            end = _end(assignment, subscription)
            if offset is not None and end is not None:
                lags[partition] = max(0, end - offset)
                ages[partition] = self._age_s(assignment, offset, lags[partition])
        self._standing = {each: stands for each, stands in self._standing.items() if each in lags}
        return Snapshot(
            phases={partition: each.phase.value for partition, each in self._assignments.items()},
            lags=lags,
            ages_s=ages,
            running_turns=len(self._turns.running),
            waiting_events=sum(each.waiting_events for each in self._assignments.values()),
            uncommitted=len(self._outbox),
            changelog_lag=sum(map(_unread, self._assignments.values())),
            state_bytes=self._store.size_bytes(),
            paused=paused,
            engine_away=self._turns.engine_away,
        )

    def _age_s(self, assignment: Assignment, offset: int, lag: int) -> float:
        """How long the group offset has waited: since its record was written; since it last moved, where that
        record is not in hand, as in a partition that is refused."""
        now = self._clock.monotonic()
        standing = self._standing.get(assignment.partition)
        if standing is None or standing[0] != offset or lag == 0:
            self._standing[assignment.partition] = standing = (offset, now)
        if lag == 0:
            return 0.0
        oldest_ms = next(iter(assignment.timestamps.values()), None)
        return now - standing[1] if oldest_ms is None else max(0, self._clock.now_ms() - oldest_ms) / 1000


def group_offset(assignment: Assignment) -> int | None:
    """Where the group stands in a partition; None while that is not known."""
    if assignment.term:
        return assignment.ledger.group_offset
    facts = assignment.facts
    # What retention has deleted is no lag.
    return None if facts is None or facts.committed is None else max(facts.start, facts.committed)


def _end(assignment: Assignment, subscription: Subscription) -> int | None:
    was_read = assignment.phase in (Phase.SERVING, Phase.REFUSED)
    end = subscription.high_watermark(assignment.partition) if was_read else None
    return assignment.facts.end if end is None and assignment.facts is not None else end


def _unread(assignment: Assignment) -> int:
    """Offsets of the changelog that a restore has still to read; fewer records, where it was compacted."""
    if assignment.phase is not Phase.RESTORING or assignment.facts is None:
        return 0
    return max(0, assignment.facts.changelog_end - assignment.restore.position)
