"""The fixtures that users get, by the very snippets of the page that tells of them."""

import os
import re
import subprocess
import sys
from pathlib import Path

from stream_worker.golden.conversation import load_goldens

_PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "test-a-bot.md"


def _snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.+?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_snippet_of_the_docs_passes(tmp_path: Path) -> None:
    (snippet,) = _snippets("python")
    (tmp_path / "bot.yaml").write_text("bot: plain\n")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["stream_worker.testing"]\n')
    (tmp_path / "test_bot.py").write_text(snippet)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(_PAGE.parents[2])}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_conversation_of_the_docs_is_one(tmp_path: Path) -> None:
    (snippet,) = _snippets("yaml")
    (tmp_path / "weather.yml").write_text(snippet, encoding="utf-8")
    (golden,) = load_goldens([tmp_path])
    assert len(golden.file.steps) == 10
