"""The local copy of committed state: one RocksDB, keys prefixed by partition.

A cache of the changelog, never the truth: it sees committed values only,
after the commit, in one batch with the changelog position it reflects. So
what a crash leaves of it is the copy at an earlier position. It knows bytes,
not conversations.
"""

import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from rocksdict import AccessType, DBCompressionType, Options, Rdict, ReadOptions, WriteBatch, WriteOptions

from stream_worker.clock import Clock, SystemClock
from stream_worker.conversation.copy import LocalCopy
from stream_worker.errors import Code, Fatal, LocalStateUnusable


class Store(Protocol):
    """Calls but `reset`, `size_bytes` and `close` raise LocalStateUnusable for a damaged copy or a full disk."""

    def get(self, partition: int, key: bytes) -> bytes | None: ...

    def apply(
        self,
        partition: int,
        changes: Mapping[bytes, bytes | None],
        position: int,
        marked: Collection[bytes] = (),
        current_ms: int | None = None,
    ) -> None:
        """Writes values (None deletes) and the changelog position they reflect, in one batch.

        `marked` keys are found again by `marked`, until they are deleted. `current_ms` is the last wall time at which
        the copy was all that the changelog says; None for now.
        """
        ...

    def marked(self, partition: int) -> Iterable[bytes]:
        """Keys that were marked once; their values may have changed since."""
        ...

    def copy(self, partition: int) -> LocalCopy | None:
        """What there is of a partition; None without anything."""
        ...

    def keys(self, partition: int) -> Iterable[bytes]: ...

    def begin(self, partition: int, origin: str) -> None:
        """An empty copy of a partition, in place of any that was there."""
        ...

    def reset(self) -> None:
        """Everything is thrown away, a damaged copy, too. Raises Fatal where even that fails."""
        ...

    def size_bytes(self) -> int:
        """About how much all partitions hold; quick."""
        ...

    def close(self) -> None: ...


_SIZES = ("rocksdb.estimate-live-data-size", "rocksdb.cur-size-all-mem-tables")
_POSITION = b"p"
_ORIGIN = b"o"
_VALUE = b"v"
_MARK = b"m"

_LOCKED = re.compile(r"IO error: (While lock file|lock hold by)", re.IGNORECASE)
_WRITE_BUFFER_BYTES = 64 << 20
_FLUSH_EVERY_S = 30.0
"""How much of the changelog's tail a killed process has to read again, at the most."""


def _prefix(partition: int) -> bytes:
    return partition.to_bytes(4, "big")


class RocksStore:
    """Raises Fatal where another process has the folder."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self._folder = folder
        self._clock = clock or SystemClock()
        # The changelog is the truth and is read again after a crash: no second log is kept on disk.
        self._unlogged = WriteOptions()
        self._unlogged.disable_wal = True  # type: ignore[method-assign, assignment]  # a property; the stub errs
        self._flushed = self._clock.monotonic()
        try:
            self._db = self._open()
        except Exception as error:
            if _LOCKED.search(str(error)):
                raise Fatal(
                    Code.STORE_FAILED,
                    f"the local state in {folder} is in use: two processes share an instance and a device ({error})",
                ) from error
            # Damaged, or written by a version that this one cannot read: a cache, so it is made anew.
            shutil.rmtree(folder, ignore_errors=True)
            self._db = self._opened_anew()

    def get(self, partition: int, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(_prefix(partition) + _VALUE + key)
        except Exception as error:  # rocksdict raises nothing narrower
            raise self._unusable(error) from error
        return value

    def apply(
        self,
        partition: int,
        changes: Mapping[bytes, bytes | None],
        position: int,
        marked: Collection[bytes] = (),
        current_ms: int | None = None,
    ) -> None:
        prefix = _prefix(partition)
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(prefix + _VALUE + key)
                batch.delete(prefix + _MARK + key)
            else:
                batch.put(prefix + _VALUE + key, value)
        for key in marked:
            batch.put(prefix + _MARK + key, b"")
        current_ms = self._clock.now_ms() if current_ms is None else current_ms
        batch.put(prefix + _POSITION, position.to_bytes(8, "big") + current_ms.to_bytes(8, "big"))
        self._write(batch)

    def copy(self, partition: int) -> LocalCopy | None:
        try:
            raw: bytes | None = self._db.get(_prefix(partition) + _POSITION)
            origin: bytes | None = self._db.get(_prefix(partition) + _ORIGIN)
        except Exception as error:  # rocksdict raises nothing narrower
            raise self._unusable(error) from error
        if raw is None or origin is None or len(raw) != 16:
            return None
        return LocalCopy(
            origin=origin.decode(errors="replace"),
            position=int.from_bytes(raw[:8], "big"),
            current_ms=int.from_bytes(raw[8:], "big"),
        )

    def keys(self, partition: int) -> Iterable[bytes]:
        return self._rows(partition, _VALUE)

    def marked(self, partition: int) -> Iterable[bytes]:
        return self._rows(partition, _MARK)

    def _rows(self, partition: int, kind: bytes) -> Iterable[bytes]:
        prefix = _prefix(partition) + kind
        bounds = ReadOptions()
        bounds.set_iterate_upper_bound(_prefix(partition) + bytes([kind[0] + 1]))
        cursor = self._db.iter(bounds)
        cursor.seek(prefix)
        while cursor.valid():
            key: bytes = cursor.key()
            yield key[len(prefix) :]
            cursor.next()
        try:
            # A damaged block looks like the end.
            cursor.status()
        except Exception as error:  # rocksdict raises nothing narrower
            raise self._unusable(error) from error

    def begin(self, partition: int, origin: str) -> None:
        prefix = _prefix(partition)
        try:
            self._db.delete_range(prefix, _prefix(partition + 1), write_opt=self._unlogged)
        except Exception as error:  # rocksdict raises nothing narrower
            raise self._unusable(error) from error
        batch = WriteBatch(raw_mode=True)
        batch.put(prefix + _ORIGIN, origin.encode())
        self._write(batch)

    def reset(self) -> None:
        with suppress(Exception):  # what it holds is thrown away in any case
            self._db.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._db = self._opened_anew()

    def size_bytes(self) -> int:
        return sum(self._db.property_int_value(name) or 0 for name in _SIZES)

    def close(self) -> None:
        self._db.close()

    def _open(self) -> Rdict:
        self._folder.mkdir(parents=True, exist_ok=True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_compression_type(DBCompressionType.lz4())
        options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
        return Rdict(str(self._folder), options, access_type=AccessType.read_write())

    def _opened_anew(self) -> Rdict:
        try:
            return self._open()
        except Exception as error:  # rocksdict raises nothing narrower
            raise Fatal(
                Code.STORE_FAILED,
                f"cannot make the local state in {self._folder}: {error}; give conversation.state_dir a disk that "
                "can be written and has room",
            ) from error

    def _write(self, batch: WriteBatch) -> None:
        try:
            self._db.write(batch, self._unlogged)
            now = self._clock.monotonic()
            if now - self._flushed >= _FLUSH_EVERY_S:
                self._flushed = now
                self._db.flush(False)
        except Exception as error:  # rocksdict raises nothing narrower
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> LocalStateUnusable:
        return LocalStateUnusable(
            Code.STORE_UNUSABLE,
            f"the local state in {self._folder} cannot be used ({error}): it is wiped and restored from the changelog; "
            "if this comes again, look at the disk",
        )


class MemoryStore:
    """The same in a dictionary, for the in-memory edge."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._values: dict[int, dict[bytes, bytes]] = {}
        self._copies: dict[int, LocalCopy] = {}
        self._origins: dict[int, str] = {}
        self._marks: dict[int, set[bytes]] = {}

    def get(self, partition: int, key: bytes) -> bytes | None:
        return self._values.get(partition, {}).get(key)

    def apply(
        self,
        partition: int,
        changes: Mapping[bytes, bytes | None],
        position: int,
        marked: Collection[bytes] = (),
        current_ms: int | None = None,
    ) -> None:
        values, marks = self._values.setdefault(partition, {}), self._marks.setdefault(partition, set())
        for key, value in changes.items():
            if value is None:
                values.pop(key, None)
                marks.discard(key)
            else:
                values[key] = value
        marks.update(marked)
        self._copies[partition] = LocalCopy(
            origin=self._origins.get(partition, ""),
            position=position,
            current_ms=self._clock.now_ms() if current_ms is None else current_ms,
        )

    def copy(self, partition: int) -> LocalCopy | None:
        return self._copies.get(partition)

    def keys(self, partition: int) -> Iterable[bytes]:
        return sorted(self._values.get(partition, {}))

    def marked(self, partition: int) -> Iterable[bytes]:
        return sorted(self._marks.get(partition, ()))

    def begin(self, partition: int, origin: str) -> None:
        self._values.pop(partition, None)
        self._marks.pop(partition, None)
        self._copies.pop(partition, None)
        self._origins[partition] = origin

    def reset(self) -> None:
        self._values, self._copies, self._origins, self._marks = {}, {}, {}, {}

    def size_bytes(self) -> int:
        return sum(len(value) for values in self._values.values() for value in values.values())

    def close(self) -> None:
        """Nothing is held open."""
