"""The history of a run: what was done to it and when, one JSON object a line, so that it can be read and repeated."""

import time
from pathlib import Path
from typing import Any, Self

import orjson


class History:
    """Written as it happens: a run that hangs has its history, too."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("wb")
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def note(self, what: str, **more: Any) -> None:
        entry = {"s": round(time.monotonic() - self._started, 3), "wall_ms": time.time_ns() // 1_000_000, "what": what}
        self._file.write(orjson.dumps(entry | more) + b"\n")
        self._file.flush()


def read_history(file: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]
