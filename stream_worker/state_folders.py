"""The folders of local state, one a process: what nobody will come back to is removed.

With `instance` unset a worker's name is random, so its folder is of use to no
later process. It goes with the process; where that was killed, with the next
start on the same disk. State is a cache: the changelog has everything.
"""

import fcntl
import re
import shutil
import time
from pathlib import Path

_LOCK = "LOCK"
_YOUNG_S = 60.0
"""A process makes its folder before it locks it."""


class StateFolders:
    """Those of one application below `root`."""

    def __init__(self, root: Path, application_id: str) -> None:
        self._root = root
        # As `identity` names a worker without an instance: eight hex digits of its own.
        self._random = re.compile(rf"{re.escape(application_id)}-[0-9a-f]{{8}}-(auto|cpu|cuda\d*)")

    def of(self, transactional_id: str) -> Path:
        return self._root / transactional_id

    def remove(self, folder: Path) -> None:
        """What cannot be removed now is stale, and is tried again at the next start."""
        shutil.rmtree(folder, ignore_errors=True)

    def remove_stale(self) -> list[Path]:
        """Removes the folders of processes with random names that are no more; returns them."""
        if not self._root.is_dir():
            return []
        stale = [each for each in self._root.iterdir() if self._random.fullmatch(each.name) and _is_left(each)]
        for folder in stale:
            self.remove(folder)
        return stale


def _is_left(folder: Path) -> bool:
    """Whether no process has the folder's database open."""
    try:
        with (folder / _LOCK).open("rb+") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime > _YOUNG_S
    except OSError:
        return False
