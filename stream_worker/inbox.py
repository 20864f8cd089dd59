"""The worker's inbox: results from other threads, and the one place where the worker waits while it is busy."""

from queue import Empty, SimpleQueue
from typing import Protocol

from stream_worker.orders import Result


class Inbox(Protocol):
    def drain(self) -> list[Result]:
        """Everything that came, in order, without waiting."""
        ...

    def wait(self, seconds: float) -> None:
        """Returns when there is something to drain, at the latest after `seconds`."""
        ...


class ThreadInbox:
    """Any thread puts, the worker thread drains."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Result] = SimpleQueue()
        self._ahead: list[Result] = []

    def put(self, result: Result) -> None:
        self._queue.put(result)

    def drain(self) -> list[Result]:
        results, self._ahead = self._ahead, []
        try:
            while True:
                results.append(self._queue.get_nowait())
        except Empty:
            return results

    def wait(self, seconds: float) -> None:
        if self._ahead:
            return
        try:
            self._ahead.append(self._queue.get(timeout=seconds) if seconds > 0 else self._queue.get_nowait())
        except Empty:
            return
