"""The thread that owns the device, and the same without a thread.

The worker thread calls the methods of `Engine`; everything else of a desk
happens on the device side. What always holds: models are loaded, run and
dropped on one thread, and whatever that thread dies of is reported for all
that is in hand before it ends.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from stream_worker.clock import Clock
from stream_worker.errors import Code, Fatal, raised
from stream_worker.inference.desk import Desk
from stream_worker.inference.engine import Capabilities, EngineStats, Report
from stream_worker.inference.stepper import Encoder, Stepper
from stream_worker.orders import Order

# Threads of one operation that spin while they wait take the cores of other processes.
# Read by the OpenMP runtime when it starts, hence set before torch is imported by a factory.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_IDLE_SECONDS = 1.0
"""The longest wait without a beat while there is nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """How the device side makes what it runs; called on its own thread, in this order."""

    stepper: Callable[[], Stepper]
    encoder: Callable[[], Encoder | None]
    max_texts: int = 32
    """Texts in one encoder pass."""

    def desk(self) -> Desk:
        return Desk(self.stepper(), self.encoder(), self.max_texts)


class DeviceThread:
    """An `Engine` on a thread of its own. Orders and stats are for the worker thread."""

    def __init__(self, models: Models, report: Report, clock: Clock) -> None:
        self._models = models
        self._report = report
        self._clock = clock
        # None wakes the thread up, to see that it is to end.
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._loaded = threading.Event()
        self._closing = threading.Event()
        self._failure: BaseException | None = None
        self._desk: Desk | None = None
        self._beat = clock.monotonic()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> None:
        """Returns when the models are loaded. Raises what loading raised, or Fatal after `timeout_s`."""
        if not self._loaded.wait(timeout_s):
            raise Fatal(Code.DEVICE_STALLED, f"the models were not loaded within {timeout_s:.0f} s")
        if self._failure is not None:
            raise self._failure

    @property
    def alive(self) -> bool:
        """Whether the thread still takes orders."""
        return self._thread.is_alive() and self._failure is None

    @property
    def capabilities(self) -> Capabilities:
        return self._ready_desk().capabilities

    def submit(self, order: Order) -> None:
        self._orders.put(order)

    def stats(self) -> EngineStats:
        return self._ready_desk().stats_at(self._beat)

    def close(self, deadline_s: float) -> None:
        self._closing.set()
        self._orders.put(None)
        self._thread.join(deadline_s)

    def _ready_desk(self) -> Desk:
        if self._desk is None:
            raise RuntimeError("the device is asked before wait_ready has returned")
        return self._desk

    def _run(self) -> None:
        try:
            desk = self._desk = self._models.desk()
            # Loading took as long as it took: the silence that counts begins now.
            self._beat = self._clock.monotonic()
            self._loaded.set()
            self._loop(desk)
        except Exception as error:  # noqa: BLE001  # the thread's top: whatever it is, the worker must learn of it
            self._die(error)

    def _loop(self, desk: Desk) -> None:
        """Drain, choose, step, report."""
        while not self._closing.is_set():
            desk.take(self._drain(desk.seconds_until_ready()))
            self._beat = self._clock.monotonic()
            for result in desk.work():
                if not self._closing.is_set():
                    self._report(result)

    def _drain(self, wait_s: float) -> list[Order]:
        """All orders that came; waits for the first one while there is nothing else to do."""
        orders: list[Order | None] = []
        try:
            if wait_s > 0:
                orders.append(self._orders.get(timeout=min(wait_s, _IDLE_SECONDS)))
            while True:
                orders.append(self._orders.get_nowait())
        except Empty:
            return [order for order in orders if order is not None]

    def _die(self, error: Exception) -> None:
        self._failure = error
        self._loaded.set()
        if self._desk is None:
            return
        self._desk.take_in(self._drain(0))
        for result in self._desk.failed(f"the device thread ended with {raised(error)}"):
            self._report(result)


class InlineDevice:
    """An `Engine` that runs when it is told to. With a clock moved by hand, the same each time."""

    def __init__(self, models: Models, report: Report, clock: Clock) -> None:
        self._desk = models.desk()
        self._report = report
        self._clock = clock
        self._orders: list[Order] = []
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        return self._desk.capabilities

    def submit(self, order: Order) -> None:
        if not self._closed:
            self._orders.append(order)

    def stats(self) -> EngineStats:
        return self._desk.stats_at(self._clock.monotonic())

    def close(self, deadline_s: float) -> None:  # noqa: ARG002  # nothing runs between two pumps
        self._closed = True
        self._orders.clear()

    def seconds_until_ready(self) -> float:
        """How far the clock may be moved until there is something to do; infinite when there is nothing."""
        if self._closed:
            return float("inf")
        return 0.0 if self._orders else self._desk.seconds_until_ready()

    def pump(self) -> None:
        """Does all that is due now."""
        while self.seconds_until_ready() <= 0:
            orders, self._orders = self._orders, []
            self._desk.take(orders)
            for result in self._desk.work():
                self._report(result)
