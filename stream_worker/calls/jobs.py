"""The jobs of one asyncio loop. Everything here runs on that loop."""

import asyncio
from collections.abc import Hashable

from stream_worker.async_runner import Job


class Jobs:
    """Which job runs under which key, and the first error that escaped one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}
        self.failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, key: Hashable, job: Job) -> None:
        if key in self._tasks:
            self.failure = self.failure or RuntimeError(f"a job is started under the key of one that runs: {key!r}")
            return
        task = self._tasks[key] = self._loop.create_task(job())
        task.add_done_callback(lambda ended: self._ended(key, ended))

    def cancel(self, key: Hashable) -> None:
        # One round later: the first step of a task started in this round is queued, and must come before.
        if (task := self._tasks.get(key)) is not None:
            self._loop.call_soon(task.cancel)

    async def cancel_all(self) -> None:
        """Returns when every job has ended."""
        for key in self._tasks:
            self.cancel(key)
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def _ended(self, key: Hashable, task: asyncio.Task[None]) -> None:
        del self._tasks[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failure = self.failure or error
