"""How often this worker's process ended by an error, kept over restarts.

A process that ends takes its counters with it before anybody has scraped them,
so these are kept in a small file and the next process goes on from there. Only
a worker with a stable name (`instance`) can know its predecessor's.
"""

from collections import Counter
from contextlib import suppress
from pathlib import Path

import orjson

from stream_worker.cache import appearing_whole
from stream_worker.errors import Code
from stream_worker.settings import Settings


class FatalErrors:
    """Counts by error code, of this worker's processes so far."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._counts = Counter(_read(file) if file is not None else {})

    @classmethod
    def of(cls, settings: Settings, identity: str) -> "FatalErrors":
        folder = settings.conversation.state_dir / settings.application_id
        return cls(folder / f"{identity}.errors.json" if settings.instance is not None else None)

    def counts(self) -> dict[str, int]:
        """Being fenced is always among them: an alert looks for the first time, too."""
        return {Code.FENCED.id: 0} | self._counts

    def add(self, code: Code) -> None:
        """What cannot be written is not counted: the error itself must be heard."""
        self._counts[code.id] += 1
        if self._file is None:
            return
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with appearing_whole(self._file) as half:
                half.write_bytes(orjson.dumps(dict(self._counts)))


def _read(file: Path) -> dict[str, int]:
    """What is not ours, or is of a newer release, counts from 0: these are counters, not state."""
    known = {code.id for code in Code}
    try:
        found = orjson.loads(file.read_bytes())
        return {code: int(count) for code, count in found.items() if code in known}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
