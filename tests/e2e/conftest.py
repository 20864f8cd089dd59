"""The broker fixtures of tests/kafka, and the demo bot with its understanding trained once for the run."""

import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from tests.kafka.conftest import broker, settings_for

__all__ = ["broker", "demo_bot", "settings_for"]


@pytest.fixture(scope="session")
def demo_bot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo bot's file, beside its trained heads."""
    folder = tmp_path_factory.mktemp("demo-bot")
    template = Path(str(files("stream_worker") / "templates" / "demo"))
    shutil.copy(template / "bot.yaml", folder)
    command = [sys.executable, "-m", "stream_worker", "nlu", "train", str(template / "nlu.yml")]
    subprocess.run([*command, "-o", str(folder / "heads")], check=True)
    return folder / "bot.yaml"
