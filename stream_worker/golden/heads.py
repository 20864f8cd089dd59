"""The understanding of a bot, trained where it is not there for these examples yet."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from stream_worker.errors import Code, Missing
from stream_worker.inference.heads_format import HEADS_FORMAT

_STAMP = "trained-from.txt"


Train = Callable[[list[str]], None]
"""Runs `stream-worker nlu train` with these arguments. Raises Missing."""


def train_apart(arguments: list[str]) -> None:
    """In a process of its own, so that this one stays without the model libraries."""
    command = [sys.executable, "-m", "stream_worker", "nlu", "train", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Missing(Code.HEADS_NOT_FOUND, f"training failed: {done.stderr.strip() or done.stdout.strip()}")


def ensure_heads(
    heads: Path, examples: Path, encoder: str, progress: Callable[[str], None], train: Train = train_apart
) -> None:
    """Trains `heads` from `examples`, unless a version that writes them alike has done so. Raises Missing."""
    trained_by = f"{HEADS_FORMAT}\0{encoder}\0".encode()
    version = blake2b(trained_by + examples.read_bytes(), digest_size=12).hexdigest()
    stamp = heads / _STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == version:
        return
    progress(f"training {heads.name} from {examples.name}")
    shutil.rmtree(heads, ignore_errors=True)
    train([str(examples), "-o", str(heads), "--encoder", encoder])
    stamp.write_text(version, encoding="utf-8")
