"""Where things are kept that can be made again: jars of the embedded broker, converted models.

Whatever lies here may be deleted at any time while nothing of ours runs.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder(name: str) -> Path:
    """The folder `name` in the user's cache, made if it is not there."""
    # The XDG specification says that a relative path in the variable is to be ignored.
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    root = configured if configured.is_absolute() else Path.home() / ".cache"
    folder = root / "stream-worker" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def appearing_whole(path: Path) -> Iterator[Path]:
    """Where to write what is to be `path`, a file or a folder: that appears whole or not at all, however many processes
    make it at the same time.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        try:
            unfinished.replace(path)
        except OSError:
            # Another process was faster: its folder has the same content.
            if not path.is_dir():
                raise
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)
