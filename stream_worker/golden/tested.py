"""Whether a bot's golden conversations have passed since the bot, its examples or they changed.

One small file a bot's folder, in the cache: who has not run them on this machine has not tested them here.
"""

from hashlib import blake2b
from pathlib import Path

from stream_worker.cache import appearing_whole, cache_folder

CONVERSATIONS = Path("tests") / "conversations"
"""Where they lie in a bot's folder."""

_NAMES = ("bot.yaml", "nlu.yml")


def remember(folder: Path) -> None:
    """They have all passed, as everything is now."""
    with appearing_whole(_stamp(folder)) as unfinished:
        unfinished.write_text(_digest(folder), encoding="ascii")


def have_passed(folder: Path) -> bool | None:
    """None where the folder has no golden conversations."""
    if not _conversations(folder):
        return None
    stamp = _stamp(folder)
    return stamp.is_file() and stamp.read_text(encoding="ascii", errors="replace") == _digest(folder)


def _conversations(folder: Path) -> list[Path]:
    return sorted(path for ending in ("*.yml", "*.yaml") for path in (folder / CONVERSATIONS).rglob(ending))


def _digest(folder: Path) -> str:
    found = blake2b(digest_size=16)
    for path in (*(folder / name for name in _NAMES), *_conversations(folder)):
        content = path.read_bytes() if path.is_file() else b""
        found.update(f"{path.relative_to(folder)} {len(content)}\n".encode() + content)
    return found.hexdigest()


def _stamp(folder: Path) -> Path:
    return cache_folder("tested") / blake2b(str(folder.resolve()).encode(), digest_size=16).hexdigest()
