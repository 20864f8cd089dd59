"""A worker is known by its partitions, whoever tells of it."""

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.console.board import Board
from stream_worker.console.group import picture
from stream_worker.console.vitals import Sample, vitals
from stream_worker.kafka.group_admin import GroupStatus, PartitionStatus
from stream_worker.kafka.window import Marks

NOW = 1_790_000_000.0


def told(target: str, partitions: list[int], kv: float, beats: dict[str, float]) -> list[Sample]:
    return [
        *(Sample(target, "stream_worker_partition_lag", {"partition": str(each)}, 0.0) for each in partitions),
        Sample(target, "stream_worker_kv_cache_usage_ratio", {}, kv),
        *(
            Sample(target, "stream_worker_loop_heartbeat_timestamp_seconds", {"loop": loop}, at)
            for loop, at in beats.items()
        ),
    ]


def test_the_quietest_thread_counts() -> None:
    (found,) = vitals(told("a", [3], 0.4, {"worker": NOW - 1, "device": NOW - 40, "io": NOW}), NOW)
    assert (found.partitions, found.kv_used, found.beat_age_s) == (frozenset({3}), 0.4, 40.0)


def test_a_worker_that_says_nothing_of_itself_has_no_vitals() -> None:
    (found,) = vitals([Sample("a", "up", {}, 1.0)], NOW)
    assert (found.partitions, found.kv_used, found.beat_age_s) == (frozenset(), None, None)


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=12))
def test_each_member_gets_its_own(owners: list[str]) -> None:
    samples = [
        sample
        for name, kv in (("a", 0.25), ("b", 0.75))
        for sample in told(f"http://{name}", [n for n, owner in enumerate(owners) if owner == name], kv, {"io": NOW})
    ]
    status = GroupStatus("g", "stable", 2, tuple(PartitionStatus(n, owner, 0, 0) for n, owner in enumerate(owners)))
    marks = {number: Marks(start=0, stable=0, end=0) for number in range(len(owners))}
    group = picture(status, marks, Board(), 0, vitals(samples, NOW))
    for member in group.members:
        assert member.vitals is not None
        assert member.vitals.kv_used == {"a": 0.25, "b": 0.75}[member.name]
