"""The local copy: what it keeps, when it may be gone on with, and what a bad disk does to it."""

from pathlib import Path
from typing import Any

import pytest

from stream_worker.clock import ManualClock
from stream_worker.conversation.copy import LocalCopy, tail_start
from stream_worker.conversation.store import MemoryStore, RocksStore, Store
from stream_worker.errors import Fatal, LocalStateUnusable

_DAY_MS = 24 * 3_600_000


@pytest.fixture(params=["rocks", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    clock = ManualClock(now_ms=5_000)
    return RocksStore(tmp_path / "state", clock) if request.param == "rocks" else MemoryStore(clock)


def test_a_copy_holds_values_and_the_position_they_reflect(store: Store) -> None:
    store.begin(1, "cluster topic")
    store.apply(1, {b"a": b"1", b"b": b"2"}, 10)
    store.apply(1, {b"a": None}, 12)
    assert (store.get(1, b"a"), store.get(1, b"b"), list(store.keys(1))) == (None, b"2", [b"b"])
    assert store.copy(1) == LocalCopy(origin="cluster topic", position=12, written_ms=5_000)


def test_partitions_do_not_mix_and_one_begins_anew_alone(store: Store) -> None:
    for partition in (1, 2, 255, 256):
        store.begin(partition, f"origin {partition}")
        store.apply(partition, {b"k": b"%d" % partition}, partition)
    store.begin(2, "another")
    assert [store.get(partition, b"k") for partition in (1, 2, 255, 256)] == [b"1", None, b"255", b"256"]
    assert store.copy(2) is None
    assert store.copy(256) == LocalCopy(origin="origin 256", position=256, written_ms=5_000)
    store.reset()
    assert store.copy(1) is None
    store.apply(1, {b"k": b"new"}, 3)
    assert store.get(1, b"k") == b"new"
    store.close()


def test_a_copy_outlives_its_process(tmp_path: Path) -> None:
    first = RocksStore(tmp_path)
    first.begin(0, "o")
    first.apply(0, {b"k": b"v"}, 7)
    first.close()
    again = RocksStore(tmp_path)
    copy = again.copy(0)
    assert copy is not None
    assert (again.get(0, b"k"), copy.position, copy.origin) == (b"v", 7, "o")
    again.close()


def test_a_damaged_copy_is_made_anew(tmp_path: Path) -> None:
    first = RocksStore(tmp_path)
    first.begin(0, "o")
    first.apply(0, {b"k": b"v"}, 7)
    first.close()
    for file in tmp_path.iterdir():
        if file.is_file():
            file.write_bytes(b"\x00damaged")
    again = RocksStore(tmp_path)
    assert (again.copy(0), again.get(0, b"k")) == (None, None)
    again.close()


def test_two_processes_cannot_have_one_folder(tmp_path: Path) -> None:
    first = RocksStore(tmp_path)
    with pytest.raises(Fatal, match="in use"):
        RocksStore(tmp_path)
    first.close()


class _FullDisk:
    """A database whose disk is full."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, *_: object) -> None:
        raise Exception("IO error: No space left on device: While appending to file")


def test_a_full_disk_costs_the_copy_and_nothing_else(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "state")
    store.begin(0, "o")
    store._db = _FullDisk(store._db)  # type: ignore[assignment]
    with pytest.raises(LocalStateUnusable, match="No space left"):
        store.apply(0, {b"k": b"v"}, 1)
    store.reset()
    store.begin(0, "o")
    store.apply(0, {b"k": b"v"}, 1)
    assert store.get(0, b"k") == b"v"
    store.close()


def _tail(
    position: int = 50, *, origin: str = "o", age_ms: int = 0, log_start: int = 0, log_end: int = 100
) -> int | None:
    copy = LocalCopy(origin=origin, position=position, written_ms=1_000_000)
    return tail_start(
        copy,
        origin="o",
        log_start=log_start,
        log_end=log_end,
        now_ms=1_000_000 + age_ms,
        keeps_deletions_ms=_DAY_MS,
    )


def test_a_copy_of_this_changelog_is_gone_on_with_from_its_position() -> None:
    assert _tail(50, age_ms=_DAY_MS - 1) == 50


def test_a_copy_is_wiped_where_the_tail_would_not_make_it_whole() -> None:
    assert _tail(50, age_ms=_DAY_MS) is None, "tombstones of the tail may be gone"
    assert _tail(50, origin="another cluster, or a topic made anew") is None
    assert _tail(50, log_start=51) is None, "records after it were deleted"
    assert _tail(100) is None, "the changelog was cut behind it"
    assert tail_start(None, origin="o", log_start=0, log_end=9, now_ms=0, keeps_deletions_ms=1) is None


def test_a_copy_that_nothing_was_written_after_is_never_too_old() -> None:
    assert _tail(98, age_ms=10 * _DAY_MS) == 98
    assert _tail(97, age_ms=10 * _DAY_MS) is None
