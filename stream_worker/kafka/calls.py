"""Calls of a client that may not return when they should.

Some run on a thread of their own: those that may not be waited for in place, as they hold up the loop or never return.
The thread is a daemon, so that one of the latter keeps nobody from ending; it keeps its client alive, which nobody else
uses by then.
"""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

_GRACE_S = 1.0

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


def answered(future: "Future[T]", timeout_s: float) -> T:
    """The result of a call that was given this timeout; timed out, too, where the client does not keep it.

    Raises KafkaException.
    """
    try:
        return future.result(timeout_s + _GRACE_S)
    except TimeoutError as error:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error
