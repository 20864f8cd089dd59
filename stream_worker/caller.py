"""Who makes a turn's calls: the seam between turns and the I/O thread."""

from typing import Protocol

from stream_worker.orders import Call, TurnRef


class Caller(Protocol):
    """Both are called on the worker thread and return at once."""

    def submit(self, order: Call) -> None:
        """Makes the call; exactly one `Called` or `CallFailed` follows, unless it is cancelled."""
        ...

    def cancel(self, ref: TurnRef, calls: int) -> None:
        """Ends a turn's calls, numbered from 1 to `calls`; what has ended already is ignored."""
        ...
