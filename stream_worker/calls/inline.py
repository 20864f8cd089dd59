"""The I/O loop without a thread, in a time that is moved by hand. For tests: the same each time."""

import asyncio
from collections.abc import Callable, Hashable
from selectors import SelectorKey, SelectSelector

from stream_worker.async_runner import Job
from stream_worker.calls.jobs import Jobs
from stream_worker.clock import Clock

_SAME_MOMENT_S = 1e-6
"""Moving a clock by a difference of floats may fall short of the moment it was meant for by less than this."""


class InlineIo:
    """An `AsyncRunner` whose jobs go on when `pump` is called. Their sleeps and timeouts follow `clock`.

    Real sockets are looked at once a pump, and never waited for but in `close`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: _Running | None = None
        self._closed = False
        self._orders = 0

    def start(self, key: Hashable, job: Job) -> None:
        self._soon(lambda jobs: jobs.start(key, job))

    def cancel(self, key: Hashable) -> None:
        self._soon(lambda jobs: jobs.cancel(key))

    def seconds_until_ready(self) -> float:
        """How far the clock may be moved until a job goes on; infinite when none waits for time."""
        if self._running is None:
            return float("inf")
        return 0.0 if self._orders else max(0.0, self._running.selector.due - self._clock.monotonic())

    def pump(self) -> None:
        """Lets every job run until it waits. Raises what escaped one."""
        if self._running is None:
            return
        self._orders = 0
        self._running.loop.run_forever()
        if self._running.jobs.failure is not None:
            raise self._running.jobs.failure

    def close(self) -> None:
        """Every job is cancelled and has ended."""
        self._closed = True
        if self._running is not None:
            self._running.close()
            self._running = None

    def _soon(self, call: Callable[[Jobs], None]) -> None:
        if self._closed:
            return
        if self._running is None:
            # Made for the first job: whoever starts none need not close anything.
            self._running = _Running(self._clock)
        self._running.loop.call_soon(call, self._running.jobs)
        self._orders += 1


class _Running:
    """The loop and what belongs to it."""

    def __init__(self, clock: Clock) -> None:
        self.selector = _Impatient()
        self.loop = _Loop(self.selector, clock)
        self.selector.idle = self.loop.stop
        self.jobs = Jobs(self.loop)

    def close(self) -> None:
        self.selector.idle = None
        self.loop.run_until_complete(self.jobs.cancel_all())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


class _Impatient(SelectSelector):
    """Where a loop would wait, it is told that it is idle, and `due` is the clock's time of what it would wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.idle: Callable[[], None] | None = None
        self.due = float("inf")
        self.now: Callable[[], float] = float

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if timeout is not None and timeout <= _SAME_MOMENT_S:
            return super().select(0)
        if self.idle is None:
            return super().select(_SAME_MOMENT_S)
        self.due = float("inf") if timeout is None else self.now() + timeout
        self.idle()
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, selector: _Impatient, clock: Clock) -> None:
        self.time = clock.monotonic  # type: ignore[method-assign]  # the one place where asyncio asks for the time
        selector.now = clock.monotonic
        super().__init__(selector)
