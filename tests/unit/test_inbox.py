"""Results of other threads arrive in order, once; a worker that waits wakes up for the first of them."""

import threading

from stream_worker.inbox import InlineInbox, ThreadInbox
from stream_worker.orders import Ended, TurnRef

_GUARD_S = 120.0
_THREADS, _EACH = 8, 500


def _result(thread: int, number: int) -> Ended:
    return Ended(ref=TurnRef(thread, 1, "t", number))


def test_every_result_of_every_thread_is_drained_once_and_in_its_threads_order() -> None:
    inbox = ThreadInbox()

    def put(thread: int) -> None:
        for number in range(_EACH):
            inbox.put(_result(thread, number))

    threads = [threading.Thread(target=put, args=(number,)) for number in range(_THREADS)]
    for thread in threads:
        thread.start()
    drained: list[TurnRef] = []
    while len(drained) < _THREADS * _EACH:
        inbox.wait(_GUARD_S)
        came = [result.ref for result in inbox.drain()]
        assert came, "it woke up for nothing"
        drained += came
    for thread in threads:
        thread.join(_GUARD_S)
    assert inbox.drain() == []
    for number in range(_THREADS):
        assert [ref.attempt for ref in drained if ref.partition == number] == list(range(_EACH))


def test_who_waits_wakes_up_for_the_first_result_and_waits_no_more_while_it_is_there() -> None:
    inbox = ThreadInbox()
    waits = threading.Event()

    def put() -> None:
        assert waits.wait(_GUARD_S)
        inbox.put(_result(0, 1))
        inbox.put(_result(0, 2))

    thread = threading.Thread(target=put)
    thread.start()
    waits.set()
    inbox.wait(_GUARD_S)
    thread.join(_GUARD_S)
    inbox.wait(float("inf"))
    assert inbox.drain() == [_result(0, 1), _result(0, 2)]


def test_without_time_to_wait_nothing_is_waited_for() -> None:
    inbox = ThreadInbox()
    inbox.wait(0)
    assert inbox.drain() == []


class _Due:
    """Puts a result when it is pumped, once `after` seconds were spent."""

    def __init__(self, inbox: InlineInbox, after: float) -> None:
        self._inbox, self.left = inbox, after

    def pump(self) -> None:
        if self.left <= 0:
            self.left = float("inf")
            self._inbox.put(_result(0, 1))

    def seconds_until_ready(self) -> float:
        return self.left


def test_inline_no_more_time_is_spent_than_until_something_is_due() -> None:
    spent: list[float] = []
    due: list[_Due] = []

    def spend(seconds: float) -> None:
        spent.append(seconds)
        for each in due:
            each.left -= seconds

    inbox = InlineInbox(spend)
    due += [_Due(inbox, 0.75), _Due(inbox, 9.0)]
    inbox.pumped += due
    for _ in range(3):
        inbox.wait(0.5)
    assert spent == [0.5, 0.25], "what is there to drain is not waited for"
    assert inbox.drain() == [_result(0, 1)]
    assert inbox.drain() == []
