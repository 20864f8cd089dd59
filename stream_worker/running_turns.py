"""The turns in hand, over all partitions: how many, whose, and when one of them must be looked at."""

import heapq
from collections.abc import Iterator, Mapping
from itertools import count

from stream_worker.assignment import Assignment
from stream_worker.orders import TurnRef
from stream_worker.turn import Phase, Resting, Turn

_TIMERS_A_TURN, _FEW = 8, 64
"""Beyond so many the timers of turns that ended are thrown away."""


class RunningTurns:
    """A turn's phase is kept by its assignment; here is what concerns them all."""

    def __init__(self, assignments: Mapping[int, Assignment], max_running: int) -> None:
        self._assignments = assignments
        self._max_running = max_running
        self._running = 0
        self._running_of: dict[str, int] = {}
        self._freed: list[tuple[Assignment, str]] = []
        self._timers: list[tuple[float, int, TurnRef]] = []
        self._numbers = count()

    def __len__(self) -> int:
        """Turns on the device or resting."""
        return self._running

    def of_tenant(self, tenant: str) -> int:
        return self._running_of.get(tenant, 0)

    def has_room_beside(self, others: int) -> bool:
        """Whether another turn may start, where so many others are about to."""
        return self._running + others < self._max_running

    @property
    def any_resting(self) -> bool:
        return any(isinstance(phase, Resting) for phase in self._phases())

    @property
    def all_resting(self) -> bool:
        return all(isinstance(phase, Resting) for phase in self._phases())

    def begin(self, turn: Turn) -> None:
        tenant = turn.first.event.tenant
        self._running += 1
        self._running_of[tenant] = self._running_of.get(tenant, 0) + 1

    def end(self, assignment: Assignment, turn: Turn) -> bool:
        """The turn is no longer in hand; whether it was in work: one may be answered while it starts."""
        tenant = turn.first.event.tenant
        self._running -= 1
        self._running_of[tenant] -= 1
        if not self._running_of[tenant]:
            del self._running_of[tenant]
        if assignment.turns.pop(turn.ref.turn_id, None) is None:
            # Whoever started it goes on by itself.
            return False
        self._freed.append((assignment, turn.conversation))
        return True

    def take_freed(self) -> list[tuple[Assignment, str]]:
        """Conversations whose turn ended since the last call: their next one may start."""
        freed, self._freed = self._freed, []
        return freed

    def find(self, ref: TurnRef) -> tuple[Assignment, Phase] | None:
        """The live assignment and phase of a running attempt; None for anything late."""
        assignment = self._assignments.get(ref.partition)
        if assignment is None or assignment.term != ref.term:
            return None
        phase = assignment.running(ref)
        return None if phase is None else (assignment, phase)

    def set_timer(self, when: float, ref: TurnRef) -> None:
        """`due` names the attempt from `when` on, a monotonic time, whatever has become of it."""
        heapq.heappush(self._timers, (when, next(self._numbers), ref))
        if len(self._timers) > _TIMERS_A_TURN * (self._running + _FEW):
            self._timers = [timer for timer in self._timers if self.find(timer[2]) is not None]
            heapq.heapify(self._timers)

    def due(self, now: float) -> Iterator[TurnRef]:
        while self._timers and self._timers[0][0] <= now:
            yield heapq.heappop(self._timers)[2]

    def _phases(self) -> Iterator[Phase]:
        return (phase for each in self._assignments.values() for phase in each.turns.values())
