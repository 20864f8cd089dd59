"""Every alert has a runbook; that its commands exist is a matter of the docs' own tests."""

import re
import shlex
from pathlib import Path

import pytest

from tools.watching.rules import ALERTS

RUNBOOKS = Path(__file__).parents[3] / "docs" / "runbooks"
NAMES = sorted({alert.name for alert in ALERTS})
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]


def _sections(name: str) -> dict[str, str]:
    text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _commands(text: str) -> list[list[str]]:
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [shlex.split(line, comments=True) for line in lines]


def test_there_is_a_runbook_for_each_alert_and_no_other() -> None:
    assert sorted(file.stem for file in RUNBOOKS.glob("StreamWorker*.md")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_runbook_says_what_it_means_what_it_does_and_what_to_do(name: str) -> None:
    sections = _sections(name)
    assert list(sections) == SECTIONS
    assert all(text.strip() for text in sections.values())
    assert any(words[0] == "stream-worker" for words in _commands(sections["Diagnosis"]))
