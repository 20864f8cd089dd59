"""Blocking calls of a client on a thread of their own.

For calls that may not be waited for in place: they hold up the loop, or they never return. The thread is a daemon, so
that one of the latter keeps nobody from ending; it keeps its client alive, which nobody else uses by then.
"""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def started(call: Callable[..., T], *arguments: object) -> "Future[T]":
    """The call's result or error, once it has returned."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call(*arguments))
        except BaseException as error:  # noqa: BLE001 - whoever waits for the future gets it
            future.set_exception(error)

    Thread(target=run, name=f"kafka {getattr(call, '__name__', 'call')}", daemon=True).start()
    return future
