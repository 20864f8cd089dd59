"""The worker: one loop on one thread that owns Kafka, assignments, ledgers, state and outbox.

    take partitions → admit records → advance turns → throttle → commit

It waits in one place a tick: on its inbox while turns are running, in the
poll while nothing is. Partitions are given back inside the callback of the
client, because they are others' when it returns.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from stream_worker.admission.pressure import FULL_SPEED, Load, Pace, Pressure, Shares
from stream_worker.assignment import Assignment, Phase, Restore
from stream_worker.clock import Clock, Moment
from stream_worker.committer import Committer
from stream_worker.connection import Connection
from stream_worker.conversation.recent_states import RecentStates
from stream_worker.conversation.states import States
from stream_worker.conversation.store import Store
from stream_worker.errors import ClientsBroken, LocalStateUnusable, StreamWorkerError
from stream_worker.inbox import Inbox
from stream_worker.intake import Intake
from stream_worker.kafka.outbox import Outbox
from stream_worker.observer import Observer
from stream_worker.record import Record
from stream_worker.settings import Settings
from stream_worker.stocktaking import Stocktaking
from stream_worker.taking import Taking
from stream_worker.turns import Turns

_IDLE_WAIT_S = 0.1
_TAKING_WAIT_S = 0.005
_SNAPSHOT_EVERY_S = 1.0
_LEAVE_S = 5.0
"""What leaving the group may take, of the time to shut down."""
_LEAVE_AT_LEAST_S = 1.0


class Watchdog(Protocol):
    def check(self) -> None:
        """Raises Fatal when another thread shows no sign of life."""
        ...


class Watchdogs:
    """Several, as one."""

    def __init__(self, *watchdogs: Watchdog) -> None:
        self._watchdogs = watchdogs

    def check(self) -> None:
        for watchdog in self._watchdogs:
            watchdog.check()


class Worker:
    def __init__(
        self,
        settings: Settings,
        *,
        assignments: dict[int, Assignment],
        connection: Connection,
        taking: Taking,
        intake: Intake,
        turns: Turns,
        committer: Committer,
        outbox: Outbox,
        stocktaking: Stocktaking,
        store: Store,
        inbox: Inbox,
        observer: Observer,
        watchdog: Watchdog,
        between_ticks: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._assignments = assignments
        self._connection = connection
        self._taking = taking
        self._intake = intake
        self._turns = turns
        self._committer = committer
        self._outbox = outbox
        self._stocktaking = stocktaking
        self._store = store
        self._recent = RecentStates()
        self._inbox = inbox
        self._observer = observer
        self._watchdog = watchdog
        self._between_ticks = between_ticks
        self._clock = clock
        self._pressure = Pressure(settings.admission)
        self._commit_due = 0.0
        self._snapshot_due = 0.0
        self._shares = Shares(settings.admission)
        self._paused: set[int] = set()
        """Partitions of which nothing is fetched."""
        self._took = 0
        self._polled_at = 0.0
        self._leave_by = math.inf
        """Until when the group must have been left, once that is wanted."""
        self._stopping = False

    def stop(self) -> None:
        """Asks the loop to end; safe from a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Until `stop`; then drains, leaves and returns. Raises Fatal when the process must end."""
        self.join()
        while not self._stopping:
            self.tick()
        self.shut_down()

    def join(self) -> None:
        """Joins the group. Only a worker whose engine is warm may."""
        self._connection.clients.subscription.join(self)
        self._polled_at = self._clock.monotonic()

    def tick(self) -> None:
        """One turn of the loop."""
        self._between_ticks()
        try:
            self._taking.advance(self._connection.clients)
            self._admit()
            self._advance()
            self._throttle()
            self._commit_if_due()
        except ClientsBroken as error:
            self._replace_clients(error)
        except LocalStateUnusable as error:
            self._give_back()
            self._store.reset()
            self._replace_clients(error)

    def shut_down(self) -> None:
        """Lets running turns end, gives the partitions back, leaves the group: all within `drain_timeout_s`."""
        timeout_s = self._settings.drain_timeout_s
        self._leave_by = self._clock.monotonic() + timeout_s
        drained_by = self._leave_by - min(_LEAVE_S, timeout_s / 2)
        try:
            self._close(self._assignments)
            while self._turns.running and self._clock.monotonic() < drained_by:
                self._inbox.wait(self._settings.tick_ms / 1000)
                self._advance()
                self._commit_if_due()
            self._connection.clients.subscription.leave(self._left_s() or _LEAVE_AT_LEAST_S)
        except (ClientsBroken, LocalStateUnusable) as error:
            # Nothing is lost: what was not committed is done again by whoever takes the partitions.
            self._observer.clients_replaced(error)
        self._connection.close()

    # Rebalances: called by the subscription from within `take` and `leave`.

    def assigned(self, partitions: Sequence[int]) -> None:
        """Notes the partitions; taking them is done by the loop, in slices."""
        for partition in partitions:
            self._assignments[partition] = Assignment(
                partition=partition,
                inquiry=self._connection.clients.offsets.ask(partition),
                states=States(self._store, self._recent, partition, self._taking.names.to_forget),
                restore=Restore(started=self._clock.monotonic()),
                max_waiting_events=self._settings.admission.max_waiting_events,
            )

    def revoked(self, partitions: Sequence[int]) -> None:
        """Lets running turns end for a moment, commits once, and lets go. When this returns they are others'."""
        now = self._clock.monotonic()
        deadline = min(now + self._settings.kafka.release_ms / 1000, self._leave_by)
        self._close(partitions)
        self._finish_turns(partitions, deadline)
        try:
            while not self._committer.commit(self._connection.clients, frozenset(partitions), self._left_s()):
                if self._clock.monotonic() >= deadline:
                    break
                self._inbox.wait(self._settings.tick_ms / 1000)
        finally:
            # Also where the commit failed: from now on they may be others', and nothing of them may leave.
            self._drop(partitions)
        self._observer.released(len(partitions), lost=False)

    def lost(self, partitions: Sequence[int]) -> None:
        """They are others' already: nothing of them may leave."""
        self._drop(partitions)
        self._observer.released(len(partitions), lost=True)

    # The parts of a tick

    def _admit(self) -> None:
        """Takes what may be taken in a tick, and more where it settled without a turn: that is not slowed down."""
        wait = self._wait()
        self._observer.polled(self._clock.monotonic() - self._polled_at)
        in_hand = self._in_hand()
        limit = self._pressure.limit(in_hand, len(self._assignments))
        took = self._take(limit, wait)
        for _ in range(FULL_SPEED // max(1, limit) - 1):
            settled = took and self._in_hand() <= in_hand
            if not (settled and self._pressure.may_take_settled(self._load())):
                break
            took = self._take(limit, 0.0)

    def _take(self, limit: int, wait: float) -> int:
        """How many records there were."""
        records = self._connection.clients.subscription.take(limit, wait)
        moment = Moment.of(self._clock)
        self._polled_at = moment.monotonic
        self._admit_all(records, moment)
        return len(records)

    def _admit_all(self, records: Sequence[Record], moment: Moment) -> None:
        for record in records:
            assignment = self._assignments.get(record.partition)
            if assignment is not None and assignment.is_serving and not assignment.is_closing:
                self._intake.admit(assignment, record, moment)
                self._took += 1

    def _wait(self) -> float:
        """Waits on the inbox while turns run or little may be taken; returns how long the poll may wait otherwise.

        Busy at full speed: not at all.
        """
        took, self._took = self._took, 0
        if took and self._pressure.pace is Pace.FULL:
            return 0.0
        if self._turns.running or self._pressure.pace is not Pace.FULL:
            self._inbox.wait(self._settings.tick_ms / 1000)
            return 0.0
        if any(assignment.phase in _BEING_TAKEN for assignment in self._assignments.values()):
            return 0.0 if self._taking.is_behind else _TAKING_WAIT_S
        wait = min(_IDLE_WAIT_S, self._intake.seconds_until_due(self._clock.monotonic()))
        if len(self._outbox) or self._intake.waits_for_commit:
            return min(wait, max(0.0, self._commit_due - self._clock.monotonic()))
        return wait

    def _advance(self) -> None:
        self._intake.advance(self._inbox.drain(), Moment.of(self._clock))
        self._watchdog.check()
        self._observer.beat()

    def _throttle(self) -> None:
        now = self._clock.monotonic()
        pace = self._pressure.update(self._load(), now, engine_away=self._turns.engine_away)
        paused = self._pause(everything=pace is Pace.PAUSED)
        if now >= self._snapshot_due:
            self._snapshot_due = now + _SNAPSHOT_EVERY_S
            self._forget_erased()
            self._say_unreadable()
            subscription = self._connection.clients.subscription
            self._connection.tend()
            self._observer.snapshot(self._stocktaking.snapshot(subscription, paused=paused))

    def _forget_erased(self) -> None:
        moment = Moment.of(self._clock)
        for assignment in list(self._assignments.values()):
            if assignment.is_serving and not assignment.is_closing:
                self._intake.forget_erased(assignment, moment)

    def _say_unreadable(self) -> None:
        clients = self._connection.clients
        for partition, sentence in (
            *clients.subscription.unreadable().items(),
            *clients.changelog.unreadable().items(),
        ):
            self._observer.warned(sentence, partition)

    def _pause(self, *, everything: bool) -> int:
        """Nothing is read of `everything`, or of partitions that have their share in hand, and of a refused one never:
        whoever cures it starts a worker again. Returns how many are paused beside the refused ones."""
        serving = {partition: each.waiting_events for partition, each in self._assignments.items() if each.is_serving}
        refused = {partition for partition, each in self._assignments.items() if each.phase is Phase.REFUSED}
        wanted = refused | (serving.keys() if everything else self._shares.full(serving))
        subscription = self._connection.clients.subscription
        if fresh := wanted - self._paused:
            subscription.pause(sorted(fresh))
        if over := self._paused - wanted:
            subscription.resume(sorted(over))
        self._paused = wanted
        return len(wanted - refused)

    def _in_hand(self) -> int:
        return sum(each.waiting_events for each in self._assignments.values())

    def _load(self) -> Load:
        return Load(
            events=self._in_hand(),
            bytes=sum(each.held_bytes for each in self._assignments.values()),
            uncommitted=len(self._outbox),
        )

    def _commit_if_due(self) -> None:
        now = self._clock.monotonic()
        if now < self._commit_due:
            return
        self._committer.commit(self._connection.clients, within_s=self._left_s())
        if self._outbox.isolating:
            # One settlement a transaction: the search for the guilty one must not take an interval for each.
            return
        # From the end of the last one: back to back, transactions wait for each other in the broker.
        interval = self._settings.kafka.commit_interval_ms / 1000
        self._commit_due = max(now + interval, self._clock.monotonic() + interval / 4)

    # Letting go

    def _left_s(self) -> float | None:
        """What is left of the time to shut down; None while there is no hurry."""
        if math.isinf(self._leave_by):
            return None
        return max(_LEAVE_AT_LEAST_S, self._leave_by - self._clock.monotonic())

    def _close(self, partitions: Sequence[int] | dict[int, Assignment]) -> None:
        for partition in partitions:
            if (assignment := self._assignments.get(partition)) is not None:
                assignment.is_closing = True

    def _finish_turns(self, partitions: Sequence[int], deadline: float) -> None:
        """Pumps the inbox until no turn of these partitions runs, or it is too late. Polls nothing."""
        while self._clock.monotonic() < deadline and any(
            self._assignments[partition].turns for partition in partitions if partition in self._assignments
        ):
            self._inbox.wait(self._settings.tick_ms / 1000)
            self._advance()

    def _drop(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            assignment = self._assignments.get(partition)
            if assignment is None:
                continue
            self._intake.drop(assignment, Moment.of(self._clock))
            self._connection.clients.changelog.close(partition)
            assignment.move_to(Phase.GONE)
            del self._assignments[partition]
            self._paused.discard(partition)
        self._outbox.drop(partitions)

    def _give_back(self) -> None:
        """Says in the ledgers that we let go in order: where this ends the process, it was no event's doing."""
        partitions = frozenset(self._assignments)
        self._close(list(partitions))
        # What cannot be said now counts as a crash, and nothing is lost.
        with suppress(ClientsBroken, LocalStateUnusable):
            self._committer.commit(self._connection.clients, partitions)

    def _replace_clients(self, error: StreamWorkerError) -> None:
        """Everything in hand is dropped and taken anew; engine and cache stay."""
        self._observer.clients_replaced(error)
        self.lost(list(self._assignments))
        while True:
            try:
                self._connection.replace(error)
                break
            except ClientsBroken as again:
                # Counted each time, so this ends: the third time within ten minutes is Fatal.
                error = again
        self.join()


_BEING_TAKEN = frozenset({Phase.ASKING, Phase.RESTORING, Phase.CLAIMING})
