"""What is in hand on the device side: orders in, one piece of work at a time, results out.

Knows no thread: `DeviceThread` and `InlineDevice` both work at this desk. What
always holds: encoder micro-batches and decode steps take turns while both have
work, so neither starves.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from stream_worker.inference.engine import Capabilities, EngineStats
from stream_worker.inference.stepper import Encoder, Stepper
from stream_worker.orders import (
    Cancel,
    Encode,
    Ended,
    Expire,
    Failed,
    Fault,
    Forget,
    Generate,
    Order,
    Release,
    Result,
    Token,
    TurnRef,
)
from stream_worker.outcome import DeadLetterReason


class Work(Enum):
    """What the device does next."""

    ENCODE = "encode"
    STEP = "step"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Choice:
    """The next piece of work; `texts` is the size of the micro-batch."""

    work: Work
    texts: int = 0


def choose(*, to_encode: int, step_ready: bool, encoded_last: bool, max_texts: int) -> Choice:
    """Micro-batch or decode step. Whoever did not have the last turn goes first; a lone one goes at once."""
    if to_encode and not (step_ready and encoded_last):
        return Choice(Work.ENCODE, min(to_encode, max_texts))
    return Choice(Work.STEP) if step_ready else Choice(Work.NOTHING)


class Desk:
    """Orders that wait, and the two that work on them. Device side only, `stats` from anywhere."""

    def __init__(self, stepper: Stepper, encoder: Encoder | None, max_texts: int) -> None:
        self._stepper = stepper
        self._encoder = encoder
        self._max_texts = max_texts
        self._texts: deque[Encode] = deque()
        self._open: dict[TurnRef, None] = {}
        self._encoded_last = False
        self._steps = 0
        self._cancelled: list[Result] = []
        self._stats = self._count()

    @property
    def capabilities(self) -> Capabilities:
        return self._stepper.capabilities

    def stats_at(self, beat: float) -> EngineStats:
        """Counts as of the last piece of work."""
        return replace(self._stats, beat=beat)

    def take_in(self, orders: Sequence[Order]) -> None:
        """Orders that came too late to be worked on: they are in hand, and fail with the rest."""
        self._open.update((order.ref, None) for order in orders if isinstance(order, (Encode, Generate)))

    def take(self, orders: Sequence[Order]) -> None:
        for order in orders:
            match order:
                case Encode():
                    self._open[order.ref] = None
                    self._texts.append(order)
                case Generate():
                    self._open[order.ref] = None
                    self._stepper.add(order)
                case Cancel():
                    self._cancel(order.ref)
                case Forget() | Release() | Expire():
                    self._stepper.forget(order)

    def work(self) -> list[Result]:
        """Does the next piece of work, if there is any."""
        results, self._cancelled = self._cancelled, []
        choice = choose(
            to_encode=len(self._texts),
            step_ready=self._stepper.seconds_until_ready() <= 0,
            encoded_last=self._encoded_last,
            max_texts=self._max_texts,
        )
        if choice.work is Work.ENCODE:
            results += self._encode([self._texts.popleft() for _ in range(choice.texts)])
        elif choice.work is Work.STEP:
            self._steps += 1
            results += self._stepper.step()
        self._encoded_last = choice.work is Work.ENCODE
        for result in results:
            if not isinstance(result, Token):
                self._open.pop(result.ref, None)
        self._stats = self._count()
        return results

    def seconds_until_ready(self) -> float:
        return 0.0 if self._texts or self._cancelled else self._stepper.seconds_until_ready()

    def failed(self, message: str) -> list[Result]:
        """The end of all that is in hand, when the device itself has failed."""
        return [
            Failed(ref=ref, fault=Fault.FATAL, reason=DeadLetterReason.ATTEMPTS_EXHAUSTED, message=message)
            for ref in self._open
        ]

    def _cancel(self, ref: TurnRef) -> None:
        waiting = [order for order in self._texts if order.ref == ref]
        if waiting:
            self._texts = deque(order for order in self._texts if order.ref != ref)
            self._cancelled.append(Ended(ref=ref))
        self._stepper.cancel(ref)

    def _encode(self, orders: list[Encode]) -> list[Result]:
        if self._encoder is None:
            raise RuntimeError("a text is to be understood, and no encoder was loaded")
        return self._encoder.encode(orders)

    def _count(self) -> EngineStats:
        return EngineStats(
            running=self._stepper.running,
            waiting=self._stepper.waiting + len(self._texts),
            kv_tokens=self._stepper.kv_tokens,
            kv_capacity_tokens=self._stepper.kv_capacity_tokens,
            steps=self._steps,
            beat=0.0,
            device_evictions=self._stepper.evictions[0],
            host_evictions=self._stepper.evictions[1],
            fallbacks=self._stepper.fallbacks,
            memory=self._stepper.memory,
        )
