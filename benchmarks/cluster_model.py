"""A worker group that is scaled, as a discrete-event model: arrivals, turns, rebalances, pods, and the scaler.

What it has of the real thing: a conversation is one partition's, a partition one worker's; one turn of a conversation
runs at a time, the oldest message goes first; a worker runs so many turns side by side; a partition that moves stands
still for the rebalance and its restore, and its conversations' next turns are computed from the first token. Pods and
the autoscaler follow Kubernetes' and KEDA's documented rules (`Scaler`).
"""

import heapq
import math
import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

SAMPLE_S = 15.0
"""How often the scaler looks, and the series are sampled."""
_BUSY_OVER_S = 120
_MEAN_OVER = 1_000
"""Turns over which the worker takes its mean."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one worker, in seconds."""

    slots: int
    """Turns side by side."""
    turn_s: float
    """A turn's mean when all slots are taken; single ones take half to one and a half times as long."""
    alone: float
    """What part of that it takes when no other turn runs."""
    cold_s: float
    """What it takes longer when the conversation's keys and values are not there."""
    rebalance_s: float
    """From a change of the group until a moved partition is restored."""
    restore_s: float
    pod_start_s: float
    """From the scaler's decision until the worker joins with a warm model."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the metrics say at one instant."""

    at: float
    workers: int
    lag: int
    backlog_s: float
    """Sum over the workers of the seconds of work that their lag is."""
    busy: float
    """Sum over the workers of the share of their slots that is taken, over the last two minutes."""


Trigger = Callable[[Seen], float]
"""How many workers one trigger asks for: its metric's sum over its threshold."""


@dataclass(slots=True)
class Scaler:
    """A HorizontalPodAutoscaler fed by KEDA: the largest trigger wins; up at most to the double a minute, at once; down
    one pod a minute, to the largest wish of the last `settle_s` seconds."""

    triggers: Sequence[Trigger]
    least: int
    most: int
    settle_s: float
    tolerance: float = 0.1
    _wishes: deque[tuple[float, int]] = field(default_factory=deque)
    _steps: deque[tuple[float, int]] = field(default_factory=deque)

    def replicas(self, seen: Seen, now: int) -> int:
        """The wished number of pods; `now` is how many there are, starting ones included."""
        wish = max(self._held(trigger(seen), now) for trigger in self.triggers)
        wish = min(self.most, max(self.least, wish))
        self._wishes.append((seen.at, wish))
        while self._wishes[0][0] < seen.at - self.settle_s:
            self._wishes.popleft()
        while self._steps and self._steps[0][0] <= seen.at - 60:
            self._steps.popleft()
        moved = sum(step for _, step in self._steps)
        if wish > now:
            target = min(wish, max(now, 2 * (now - max(0, moved))))
        else:
            settled = max(wish for _, wish in self._wishes)
            target = now - 1 if settled < now and not any(step < 0 for _, step in self._steps) else now
        if target != now:
            self._steps.append((seen.at, target - now))
        return target

    def _held(self, wished: float, now: int) -> int:
        """Within the tolerance nothing changes."""
        return now if now and abs(wished / now - 1) <= self.tolerance else math.ceil(wished - 1e-9)


@dataclass(slots=True)
class Run:
    """What came of a run."""

    samples: list[Seen] = field(default_factory=list)
    pods: list[int] = field(default_factory=list)
    answered: list[tuple[float, float]] = field(default_factory=list)
    """Arrival, and seconds until the reply."""
    turns_back: int = 0
    """How often scaling changed its direction."""

    def within(self, seconds: float) -> float:
        return sum(took <= seconds for _, took in self.answered) / max(1, len(self.answered))

    def percentile(self, share: float) -> float:
        took = sorted(took for _, took in self.answered)
        return took[min(len(took) - 1, int(share * len(took)))] if took else 0.0

    @property
    def pod_hours(self) -> float:
        return sum(self.pods) * SAMPLE_S / 3600


@dataclass(slots=True, eq=False)
class _Worker:
    number: int
    ready: list[tuple[float, int, int]] = field(default_factory=list)
    """Conversations whose next turn may start: (arrival, order, conversation)."""
    running: int = 0


class Group:
    """`arrivals` are (seconds, conversation), in order; conversation `c` is in partition `c % partitions`."""

    def __init__(self, costs: Costs, scaler: Scaler, partitions: int, pods: int, seed: int = 1) -> None:
        self._costs = costs
        self._scaler = scaler
        self._draw = random.Random(seed)
        self._workers: list[_Worker] = []
        self._owner: list[_Worker | None] = [None] * partitions
        self._stands_until = [0.0] * partitions
        self._waiting: list[dict[int, deque[float]]] = [defaultdict(deque) for _ in range(partitions)]
        """By partition: arrivals of each conversation that has any."""
        self._busy: list[set[int]] = [set() for _ in range(partitions)]
        self._warm: dict[int, int] = {}
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._pods = pods
        self._next_number = 0
        self._direction = 0
        self._lag = 0
        self._mean_turn_s = costs.turn_s
        self._taken: deque[float] = deque(maxlen=round(_BUSY_OVER_S / SAMPLE_S))
        self.run = Run()
        for _ in range(pods):
            self._joins(0.0, settled=True)

    def play(self, arrivals: Iterable[tuple[float, int]], until: float) -> Run:
        self._at(SAMPLE_S, self._look)
        for arrival, conversation in arrivals:
            self._advance(arrival)
            self._arrives(arrival, conversation)
        self._advance(until)
        return self.run

    def _at(self, when: float, what: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), what))

    def _advance(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            when, _, what = heapq.heappop(self._events)
            what(when)

    # Conversations

    def _arrives(self, now: float, conversation: int) -> None:
        partition = conversation % len(self._owner)
        waiting = self._waiting[partition][conversation]
        waiting.append(now)
        self._lag += 1
        if len(waiting) == 1 and conversation not in self._busy[partition]:
            self._make_ready(now, conversation)

    def _make_ready(self, now: float, conversation: int) -> None:
        partition = conversation % len(self._owner)
        owner = self._owner[partition]
        if owner is None or self._stands_until[partition] > now:
            return
        heapq.heappush(owner.ready, (self._waiting[partition][conversation][0], next(self._order), conversation))
        self._start(now, owner)

    def _start(self, now: float, worker: _Worker) -> None:
        while worker.ready and worker.running < self._costs.slots:
            arrival, _, conversation = heapq.heappop(worker.ready)
            partition = conversation % len(self._owner)
            if self._owner[partition] is not worker or conversation in self._busy[partition]:
                continue
            waiting = self._waiting[partition]
            waiting[conversation].popleft()
            if not waiting[conversation]:
                del waiting[conversation]
            self._busy[partition].add(conversation)
            worker.running += 1
            took = self._took(worker.running)
            if self._warm.get(conversation) != worker.number:
                took += self._costs.cold_s
                self._warm[conversation] = worker.number
            self._mean_turn_s += (took - self._mean_turn_s) / _MEAN_OVER
            self._at(now + took, partial(self._ends, conversation, arrival, worker))

    def _took(self, running: int) -> float:
        """A turn's seconds beside so many."""
        costs = self._costs
        return costs.turn_s * self._draw.uniform(0.5, 1.5) * (costs.alone + (1 - costs.alone) * running / costs.slots)

    def _ends(self, conversation: int, arrival: float, worker: _Worker, now: float) -> None:
        self.run.answered.append((arrival, now - arrival))
        partition = conversation % len(self._owner)
        self._busy[partition].discard(conversation)
        worker.running -= 1
        self._lag -= 1
        if conversation in self._waiting[partition]:
            self._make_ready(now, conversation)
        self._start(now, worker)

    # The group

    def _joins(self, now: float, *, settled: bool = False) -> None:
        worker = _Worker(self._next_number)
        self._next_number += 1
        self._workers.append(worker)
        self._balance(now, settled=settled)

    def _leaves(self, now: float) -> None:
        """The youngest drains first: what it runs ends there."""
        if len(self._workers) > 1:
            gone = self._workers.pop()
            for partition, owner in enumerate(self._owner):
                if owner is gone:
                    self._owner[partition] = None
            self._balance(now)

    def _balance(self, now: float, *, settled: bool = False) -> None:
        """As few partitions move as can: those without an owner, and what is above everyone's share."""
        held: dict[_Worker, list[int]] = {worker: [] for worker in self._workers}
        free = []
        for partition, owner in enumerate(self._owner):
            if owner is None:
                free.append(partition)
            else:
                held[owner].append(partition)
        share, extra = divmod(len(self._owner), len(self._workers))
        by_size = sorted(self._workers, key=lambda worker: -len(held[worker]))
        for place, worker in enumerate(by_size):
            room = share + (place < extra)
            free += held[worker][room:]
            del held[worker][room:]
        for place, worker in enumerate(by_size):
            room = share + (place < extra)
            while len(held[worker]) < room:
                self._moves(now, free.pop(), worker, settled=settled)
                held[worker].append(-1)

    def _moves(self, now: float, partition: int, to: _Worker, *, settled: bool) -> None:
        self._owner[partition] = to
        pause = 0.0 if settled else self._costs.rebalance_s + self._costs.restore_s
        self._stands_until[partition] = now + pause
        self._at(now + pause, lambda when: self._served(when, partition))

    def _served(self, now: float, partition: int) -> None:
        if self._stands_until[partition] > now:
            return
        for conversation in list(self._waiting[partition]):
            if conversation not in self._busy[partition]:
                self._make_ready(now, conversation)

    # The scaler

    def _look(self, now: float) -> None:
        costs, workers = self._costs, self._workers
        lag = self._lag
        self._taken.append(sum(worker.running for worker in workers) / costs.slots)
        seen = Seen(
            at=now,
            workers=len(workers),
            lag=lag,
            backlog_s=lag * self._mean_turn_s / costs.slots,
            busy=sum(self._taken) / len(self._taken),
        )
        self.run.samples.append(seen)
        wished = self._scaler.replicas(seen, self._pods)
        for _ in range(wished - self._pods):
            self._at(now + costs.pod_start_s, self._joins)
        for _ in range(self._pods - wished):
            self._at(now, self._leaves)
        if wished != self._pods:
            direction = 1 if wished > self._pods else -1
            self.run.turns_back += direction == -self._direction
            self._direction = direction
        self._pods = wished
        self.run.pods.append(wished)
        self._at(now + SAMPLE_S, self._look)
