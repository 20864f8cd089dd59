"""The local copy of committed state: one RocksDB, keys prefixed by partition.

A cache of the changelog, never the truth: it sees committed values only,
after the commit, in one batch with the changelog position it reflects. It
knows bytes, not conversations.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from rocksdict import AccessType, DBCompressionType, Options, Rdict, ReadOptions, WriteBatch, WriteOptions

from stream_worker.errors import Code, Fatal


class Store(Protocol):
    def get(self, partition: int, key: bytes) -> bytes | None: ...

    def apply(self, partition: int, changes: Mapping[bytes, bytes | None], position: int) -> None:
        """Writes values (None deletes) and the changelog position they reflect, in one batch."""
        ...

    def position(self, partition: int) -> int | None:
        """The changelog offset up to which the partition is copied."""
        ...

    def keys(self, partition: int) -> Iterable[bytes]: ...

    def wipe(self, partition: int) -> None: ...

    def size_bytes(self) -> int:
        """About how much all partitions hold; quick."""
        ...

    def close(self) -> None: ...


_SIZES = ("rocksdb.estimate-live-data-size", "rocksdb.cur-size-all-mem-tables")
_POSITION = b"p"
_VALUE = b"v"


def _prefix(partition: int) -> bytes:
    return partition.to_bytes(4, "big")


class RocksStore:
    """Raises Fatal when the disk refuses: the group takes over, and the changelog has everything."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_compression_type(DBCompressionType.lz4())
        options.set_write_buffer_size(32 << 20)
        try:
            self._db = Rdict(str(folder), options, access_type=AccessType.read_write())
        except Exception as error:  # rocksdict raises nothing narrower
            raise Fatal(Code.STORE_FAILED, f"cannot open the local state in {folder}: {error}") from error
        # The changelog is the truth and is read again after a crash: no second log is kept on disk.
        self._unlogged = WriteOptions()
        self._unlogged.disable_wal = True  # type: ignore[method-assign, assignment]  # a property; the stub errs

    def get(self, partition: int, key: bytes) -> bytes | None:
        value: bytes | None = self._db.get(_prefix(partition) + _VALUE + key)
        return value

    def apply(self, partition: int, changes: Mapping[bytes, bytes | None], position: int) -> None:
        prefix = _prefix(partition)
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(prefix + _VALUE + key)
            else:
                batch.put(prefix + _VALUE + key, value)
        batch.put(prefix + _POSITION, position.to_bytes(8, "big"))
        self._write(batch)

    def position(self, partition: int) -> int | None:
        raw: bytes | None = self._db.get(_prefix(partition) + _POSITION)
        return None if raw is None else int.from_bytes(raw, "big")

    def keys(self, partition: int) -> Iterable[bytes]:
        prefix = _prefix(partition) + _VALUE
        bounds = ReadOptions()
        bounds.set_iterate_upper_bound(_prefix(partition) + bytes([_VALUE[0] + 1]))
        cursor = self._db.iter(bounds)
        cursor.seek(prefix)
        while cursor.valid():
            key: bytes = cursor.key()
            yield key[len(prefix) :]
            cursor.next()

    def wipe(self, partition: int) -> None:
        self._db.delete_range(_prefix(partition), _prefix(partition + 1))

    def size_bytes(self) -> int:
        return sum(self._db.property_int_value(name) or 0 for name in _SIZES)

    def close(self) -> None:
        self._db.close()

    def _write(self, batch: WriteBatch) -> None:
        try:
            self._db.write(batch, self._unlogged)
        except Exception as error:  # rocksdict raises nothing narrower
            raise Fatal(Code.STORE_FAILED, f"cannot write the local state: {error}") from error


class MemoryStore:
    """The same in a dictionary, for the in-memory edge."""

    def __init__(self) -> None:
        self._values: dict[int, dict[bytes, bytes]] = {}
        self._positions: dict[int, int] = {}

    def get(self, partition: int, key: bytes) -> bytes | None:
        return self._values.get(partition, {}).get(key)

    def apply(self, partition: int, changes: Mapping[bytes, bytes | None], position: int) -> None:
        values = self._values.setdefault(partition, {})
        for key, value in changes.items():
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value
        self._positions[partition] = position

    def position(self, partition: int) -> int | None:
        return self._positions.get(partition)

    def keys(self, partition: int) -> Iterable[bytes]:
        return sorted(self._values.get(partition, {}))

    def wipe(self, partition: int) -> None:
        self._values.pop(partition, None)
        self._positions.pop(partition, None)

    def size_bytes(self) -> int:
        return sum(len(value) for values in self._values.values() for value in values.values())

    def close(self) -> None:
        """Nothing is held open."""
