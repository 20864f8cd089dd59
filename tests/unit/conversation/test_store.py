"""The local copy: what it keeps, when it may be gone on with, and what a bad disk does to it."""

import subprocess
import sys
from pathlib import Path
from secrets import token_bytes
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

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
    assert store.copy(1) == LocalCopy(origin="cluster topic", position=12, current_ms=5_000)


def test_partitions_do_not_mix_and_one_begins_anew_alone(store: Store) -> None:
    for partition in (1, 2, 255, 256):
        store.begin(partition, f"origin {partition}")
        store.apply(partition, {b"k": b"%d" % partition}, partition)
    store.begin(2, "another")
    assert [store.get(partition, b"k") for partition in (1, 2, 255, 256)] == [b"1", None, b"255", b"256"]
    assert store.copy(2) is None
    assert store.copy(256) == LocalCopy(origin="origin 256", position=256, current_ms=5_000)
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


_KEYS = st.sampled_from([b"", b"a", b"b", b"p", b"o", b"v", b"\0", b"\xff", b"\0\0\0\1v"])
_CHANGES = st.dictionaries(_KEYS, st.one_of(st.none(), st.binary(max_size=4)), max_size=4)


@hypothesis_settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 1, 255, 256]), st.one_of(st.none(), _CHANGES)), max_size=20))
def test_the_disk_holds_what_a_dictionary_would(steps: list[tuple[int, dict[bytes, bytes | None] | None]]) -> None:
    """Also of keys that look like parts of ours; None begins a partition anew."""
    clock = ManualClock()
    with TemporaryDirectory() as folder:
        disk, model = RocksStore(Path(folder), clock), MemoryStore(clock)
        for position, (partition, changes) in enumerate(steps):
            for store in (disk, model):
                if changes is None:
                    store.begin(partition, f"o{position}")
                else:
                    store.apply(partition, changes, position)
            for each in (0, 1, 255, 256):
                assert list(disk.keys(each)) == list(model.keys(each))
                assert [disk.get(each, key) for key in disk.keys(each)] == [
                    model.get(each, key) for key in model.keys(each)
                ]
        disk.close()


_KILLED = """
import os, sys
from pathlib import Path
from stream_worker.conversation.store import RocksStore

store = RocksStore(Path(sys.argv[1]))
store.begin(0, "o")
for position in range(1, 31):
    store.apply(0, {b"a": b"%d" % position, b"b": b"%d" % position}, position)
    if position == 20:
        store._db.flush(True)
os._exit(9)
"""


def test_a_killed_process_leaves_values_and_position_of_one_batch(tmp_path: Path) -> None:
    """At the least what was flushed: nothing is logged beside it."""
    assert subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False).returncode == 9
    left = RocksStore(tmp_path)
    copy = left.copy(0)
    assert copy is not None
    assert copy.position >= 20
    assert left.get(0, b"a") == left.get(0, b"b") == b"%d" % copy.position
    left.close()


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
    copy = LocalCopy(origin=origin, position=position, current_ms=1_000_000)
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


def test_a_damaged_copy_in_a_folder_with_lock_in_its_name_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "blockchain-bot"
    first = RocksStore(folder)
    first.begin(0, "o")
    first.close()
    for file in folder.glob("MANIFEST*"):
        file.write_bytes(b"rubbish")
    again = RocksStore(folder)
    assert again.copy(0) is None
    again.close()


def test_a_damaged_block_is_no_end_of_the_marks(tmp_path: Path) -> None:
    first = RocksStore(tmp_path)
    first.begin(0, "o")
    for number in range(3_000):
        key = b"k%05d" % number
        first.apply(0, {key: token_bytes(100)}, number, [key])
    first._db.flush(True)
    first.close()
    for file in tmp_path.glob("*.sst"):
        content = bytearray(file.read_bytes())
        content[5_000] ^= 0xFF
        file.write_bytes(bytes(content))
    damaged = RocksStore(tmp_path)
    with pytest.raises(LocalStateUnusable):
        list(damaged.marked(0))
    damaged.close()
