"""The worker's inbox: results from other threads, and the one place where the worker waits while it is busy."""

from collections.abc import Callable
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


class Pumped(Protocol):
    """Something that runs when it is told to: a device, an I/O loop."""

    def pump(self) -> None:
        """Does all that is due now."""
        ...

    def seconds_until_ready(self) -> float:
        """How long until something is due; infinite when nothing is."""
        ...


class InlineInbox:
    """Without threads: what is `pumped` runs while the worker drains and waits, and puts its results here.

    `spend` lets so many seconds pass: a clock that is moved by hand, or a sleep.
    """

    def __init__(self, spend: Callable[[float], None]) -> None:
        self._spend = spend
        self._results: list[Result] = []
        self.pumped: list[Pumped] = []

    def put(self, result: Result) -> None:
        self._results.append(result)

    def drain(self) -> list[Result]:
        self._pump()
        results, self._results = self._results, []
        return results

    def wait(self, seconds: float) -> None:
        """No longer than until something is due."""
        self._pump()
        if not self._results:
            self._spend(min([seconds, *(each.seconds_until_ready() for each in self.pumped)]))
            self._pump()

    def _pump(self) -> None:
        for each in self.pumped:
            each.pump()
