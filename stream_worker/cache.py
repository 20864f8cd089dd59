"""Where things are kept that can be made again: jars of the embedded broker, converted models.

Whatever lies here may be deleted at any time while nothing of ours runs.
"""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """The folder `name` in the user's cache, made if it is not there."""
    # The XDG specification says that a relative path in the variable is to be ignored.
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    root = configured if configured.is_absolute() else Path.home() / ".cache"
    folder = root / "stream-worker" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
