"""How much a worker takes: slowly means slowly, paused means nothing, also of what it was given meanwhile."""

import itertools

from stream_worker.admission.pressure import Pace
from stream_worker.kafka.murmur2 import partition_of
from tests.unit.worker.rig import Rig, settings


def _busy(**admission: int) -> Rig:
    """A worker whose one turn never ends, with more partitions than it may have events in hand."""
    limits = {"upper_mark_events": 10, "lower_mark_events": 5, "max_running_turns": 1, **admission}
    return Rig(settings(topics={"partitions": 32}, admission=limits), seconds=lambda _: 1000.0)


def test_taking_slowly_is_bounded_by_time() -> None:
    rig = _busy(pause_after_ms=60_000)
    worker = rig.start().worker
    rig.run(1.0)
    for number in range(2_000):
        rig.send(f"c-{number}", message_id=f"m-{number}", text="x")
    for _ in range(11):
        worker.tick()  # at full speed, of each partition its share
    assert worker._pressure.pace is Pace.SLOW
    for number in range(2_000):
        rig.send(f"d-{number}", message_id=f"n-{number}", text="x")
    before, started = worker._load().events, rig.clock.monotonic()
    for _ in range(200):
        worker.tick()
    ticks = (rig.clock.monotonic() - started) / (rig.settings.tick_ms / 1000)
    assert 0 < worker._load().events - before <= ticks + 1


def _conversations(partitions: set[int], count: int) -> list[str]:
    names = (f"c-{number}" for number in itertools.count())
    return list(itertools.islice((name for name in names if partition_of(name.encode(), 32) in partitions), count))


def test_what_settles_without_a_turn_passes_where_another_partition_has_its_share() -> None:
    rig = _busy(max_event_age_ms=1_000)
    rig.start()
    rig.run(1.0)
    for number, name in enumerate(_conversations({0}, 20)):
        rig.send(name, message_id=f"m-{number}", text="x")
    rig.run(0.1)
    for number, name in enumerate(_conversations(set(range(1, 32)), 1_000)):
        rig.send(name, message_id=f"n-{number}", text="x", expires_at=1)
    rig.run(0.1)
    assert sum(found == ["expired"] for found in rig.outcomes.values()) == 1_000


def test_partitions_that_come_while_paused_are_paused() -> None:
    rig = _busy(pause_after_ms=100)
    worker = rig.start("w0").worker
    rig.start("w1")
    rig.run(2.0)
    for number in range(1_000):
        rig.send(f"c-{number}", message_id=f"m-{number}", text="x")
    rig.run(2.0)
    assert worker._pressure.pace is Pace.PAUSED
    in_hand = worker._load().events
    rig.kill("w1")
    rig.run(20.0)
    assert len(worker._assignments) == 32
    assert worker._load().events <= in_hand + 16, "a claimed partition gives at most the record that was fetched"
