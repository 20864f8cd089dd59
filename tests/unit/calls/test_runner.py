"""What both loops promise: the one on a thread, and the one in a time that is moved by hand."""

import asyncio
from collections.abc import Iterator
from threading import Event, current_thread
from typing import Protocol

import pytest

from stream_worker.async_runner import AsyncRunner
from stream_worker.calls.inline import InlineIo
from stream_worker.calls.io_thread import IoThread
from stream_worker.clock import ManualClock, SystemClock
from stream_worker.errors import Fatal
from tests.eventually import eventually

DEADLINE_S = 30.0


class Rig(Protocol):
    runner: AsyncRunner

    def settle(self) -> None: ...

    def close(self) -> None: ...


class Threaded:
    def __init__(self) -> None:
        self.runner = self.io = IoThread(SystemClock())

    def settle(self) -> None:
        """Returns when what was ordered so far has been begun on the loop, and cancels have arrived."""
        done = Event()

        async def last() -> None:
            for _ in range(5):
                await asyncio.sleep(0)
            done.set()

        self.runner.start(object(), last)
        assert done.wait(DEADLINE_S)

    def close(self) -> None:
        self.io.close(DEADLINE_S)


class Inline:
    def __init__(self) -> None:
        self.runner = self.io = InlineIo(ManualClock())

    def settle(self) -> None:
        self.io.pump()

    def close(self) -> None:
        self.io.close()


@pytest.fixture(params=[Threaded, Inline])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig: Rig = request.param()
    yield rig
    rig.close()


class Waiting:
    """A job that waits for ever, and what became of it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def __call__(self) -> None:
        self.log.append("began")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise
        finally:
            self.log.append("ended")


def test_jobs_wait_beside_each_other(rig: Rig) -> None:
    jobs = [Waiting() for _ in range(5)]
    for number, job in enumerate(jobs):
        rig.runner.start(number, job)
    rig.settle()
    assert [job.log for job in jobs] == [["began"]] * 5


def test_a_cancelled_job_has_begun_and_ends_once_even_when_cancelled_at_once(rig: Rig) -> None:
    job = Waiting()
    rig.runner.start("key", job)
    rig.runner.cancel("key")
    rig.runner.cancel("key")
    rig.settle()
    assert job.log == ["began", "cancelled", "ended"]


def test_a_cancel_reaches_its_own_job_only_and_an_unknown_key_is_ignored(rig: Rig) -> None:
    one, other = Waiting(), Waiting()
    rig.runner.start("one", one)
    rig.runner.start("other", other)
    rig.runner.cancel("one")
    rig.runner.cancel("nobody")
    rig.settle()
    assert one.log[-1] == "ended"
    assert other.log == ["began"]


def test_a_key_is_free_again_when_its_job_has_ended(rig: Rig) -> None:
    first, second = Waiting(), Waiting()
    rig.runner.start("key", first)
    rig.runner.cancel("key")
    rig.settle()
    rig.runner.start("key", second)
    rig.settle()
    assert second.log == ["began"]


def test_close_ends_every_job_and_nothing_starts_after_it(rig: Rig) -> None:
    job, late = Waiting(), Waiting()
    rig.runner.start("key", job)
    rig.close()
    rig.runner.start("late", late)
    rig.runner.cancel("late")
    rig.close()
    assert job.log == ["began", "cancelled", "ended"]
    assert late.log == []


async def _raises() -> None:
    raise ValueError("a bug")


def test_an_error_that_escapes_a_job_is_found_by_the_watchdog() -> None:
    io = IoThread(SystemClock())
    io.check()
    io.start("key", _raises)
    eventually(lambda: _fails(io), DEADLINE_S)
    with pytest.raises(Fatal, match=r"SW-M011 .*ValueError at test_runner.py"):
        io.check()
    io.close(DEADLINE_S)


def _fails(io: IoThread) -> bool:
    try:
        io.check()
    except Fatal:
        return True
    return False


def test_two_jobs_under_one_key_are_a_bug_that_the_watchdog_finds() -> None:
    io = IoThread(SystemClock())
    io.start("key", Waiting())
    io.start("key", Waiting())
    eventually(lambda: _fails(io), DEADLINE_S)
    io.close(DEADLINE_S)


def test_a_job_that_blocks_the_loop_is_found_by_the_watchdog() -> None:
    clock = ManualClock()
    beats = []
    io = IoThread(clock, lambda: beats.append(current_thread().name))
    blocking, let_go = Event(), Event()

    async def blocks() -> None:
        blocking.set()
        assert let_go.wait(DEADLINE_S)

    io.start("key", blocks)
    assert blocking.wait(DEADLINE_S)
    clock.advance(29)
    io.check()
    clock.advance(2)
    with pytest.raises(Fatal, match="no sign of life for 31 s"):
        io.check()
    let_go.set()
    eventually(lambda: not _fails(io), DEADLINE_S)
    assert set(beats) == {"io"}
    io.close(DEADLINE_S)


def test_sleeps_and_timeouts_follow_the_clock_that_is_moved_by_hand() -> None:
    clock = ManualClock()
    io = InlineIo(clock)
    seen: list[tuple[str, float]] = []

    async def sleeps() -> None:
        await asyncio.sleep(60)
        seen.append(("slept", clock.monotonic()))
        try:
            async with asyncio.timeout(30.1):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append(("timed out", clock.monotonic()))

    io.start("key", sleeps)
    assert io.seconds_until_ready() == 0
    io.pump()
    while (wait := io.seconds_until_ready()) != float("inf"):
        clock.advance(wait)
        io.pump()
    assert [(what, round(when, 6)) for what, when in seen] == [("slept", 60), ("timed out", 90.1)]
    io.close()


def test_an_error_that_escapes_an_inline_job_is_raised_by_the_pump() -> None:
    io = InlineIo(ManualClock())
    io.start("key", _raises)
    with pytest.raises(ValueError, match="a bug"):
        io.pump()
    io.close()
