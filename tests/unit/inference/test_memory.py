"""The memory that a model runs in, as metrics tell it."""

from stream_worker.clock import ManualClock
from stream_worker.inference.memory import DeviceMemory, MemoryGauge, process_memory


def test_what_a_process_takes_is_seen() -> None:
    before = process_memory()
    taken = b"x" * (64 << 20)
    after = process_memory()
    assert after.used - before.used > len(taken) // 2
    assert 0 < after.used < after.total == before.total


def test_it_is_looked_at_once_a_second_however_often_it_is_asked() -> None:
    clock, looks = ManualClock(), 0

    def look() -> DeviceMemory:
        nonlocal looks
        looks += 1
        return DeviceMemory(looks, 10)

    gauge = MemoryGauge(look, clock)
    seen = []
    for _ in range(30):
        clock.advance(0.1)
        seen.append(gauge.read().used)
    assert looks in (3, 4)
    assert seen[-1] == looks
