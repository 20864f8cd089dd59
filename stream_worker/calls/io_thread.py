"""The I/O thread: one asyncio loop that waits for other machines, so that nobody else has to.

What always holds: a job never runs beside another one of its loop, so jobs
share what they like without a lock; the loop shows a sign of life each second
unless a job blocks it; an error that escapes a job is kept for the watchdog.
"""

import asyncio
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress

from stream_worker.async_runner import Job
from stream_worker.calls.jobs import Jobs
from stream_worker.clock import Clock
from stream_worker.errors import Code, Fatal, raised

_BEAT_EVERY_S = 1.0
_STALL_S = 30.0


class IoThread:
    """An `AsyncRunner` on a thread of its own, and its own watchdog.

    `beat` is called on that thread, about once a second while it lives.
    """

    def __init__(self, clock: Clock, beat: Callable[[], None] = lambda: None) -> None:
        self._clock = clock
        self._beat = beat
        self._beaten = clock.monotonic()
        self._loop = asyncio.new_event_loop()
        self._jobs = Jobs(self._loop)
        self._ending = asyncio.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="io", daemon=True)
        self._thread.start()

    def start(self, key: Hashable, job: Job) -> None:
        self._soon(lambda: self._jobs.start(key, job))

    def cancel(self, key: Hashable) -> None:
        self._soon(lambda: self._jobs.cancel(key))

    def check(self) -> None:
        """Raises Fatal when a job failed by a bug of ours, or blocks the loop."""
        if (error := self._jobs.failure) is not None:
            message = f"a job of the I/O thread ended with {raised(error)}"
            raise Fatal(Code.IO_STALLED, message) from error
        silent = self._clock.monotonic() - self._beaten
        if silent > _STALL_S:
            raise Fatal(Code.IO_STALLED, f"the I/O thread showed no sign of life for {silent:.0f} s")

    def close(self, deadline_s: float) -> None:
        """Cancels every job and returns when all have ended, at the latest after `deadline_s` seconds."""
        self._soon(self._ending.set)
        self._closed = True
        self._thread.join(deadline_s)

    def _soon(self, call: Callable[[], object]) -> None:
        if not self._closed:
            self._loop.call_soon_threadsafe(call)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._live())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    async def _live(self) -> None:
        """Beats until it is closed; then every job ends."""
        while not self._ending.is_set():
            self._beaten = self._clock.monotonic()
            self._beat()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), _BEAT_EVERY_S)
        await self._jobs.cancel_all()
