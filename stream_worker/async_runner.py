"""How a room that waits for the network gets its waiting done: the seam to the I/O loop.

A room makes coroutine functions and is given an `AsyncRunner`; it never sees a
loop or a thread. What a job finds out it reports itself, as plain results put
into the worker's inbox (`Report`), from wherever it runs.
"""

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Protocol

Job = Callable[[], Coroutine[Any, Any, None]]
"""Made and run on the I/O loop. It must not block, and reports its own failures: what escapes it ends the process."""


class AsyncRunner(Protocol):
    """Runs jobs beside each other. `IoThread` in production, `InlineIo` where a test owns time."""

    def start(self, key: Hashable, job: Job) -> None:
        """Sets `job` going under `key` and returns at once. Called from any thread.

        A key names one job at a time; it is free again when that job has ended. After `close` nothing starts.
        """
        ...

    def cancel(self, key: Hashable) -> None:
        """Raises `asyncio.CancelledError` in the job at what it waits for. Called from any thread, returns at once.

        A job always runs up to its first wait before a cancel reaches it, so what it does on being cancelled is
        done once for every started job. A key that names no job is ignored.
        """
        ...
