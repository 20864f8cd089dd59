"""What `init` writes is green as it comes: every template, and the demo bot, with an understanding that is trained."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from shutil import copytree

import pytest
from typer.testing import CliRunner

from stream_worker.cli import nlu
from stream_worker.cli.init import Template, write_project
from stream_worker.golden.conversation import load_goldens
from stream_worker.golden.heads import ensure_heads
from stream_worker.golden.report import lines
from stream_worker.golden.suite import Suite, bot_settings


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What an older version understood must not answer for this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def _train(arguments: list[str]) -> None:
    """In this process, which has the model libraries already."""
    done = CliRunner().invoke(nlu.app, ["train", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def _is_green(folder: Path) -> None:
    encoder = bot_settings(folder).understanding.encoder or ""
    ensure_heads(folder / "heads", folder / "nlu.yml", encoder, lambda _: None, _train)
    goldens = load_goldens([folder / "tests" / "conversations"])
    report = Suite(folder, lambda _: None).run(goldens)
    assert report.passed, "\n".join(lines(report))
    assert len(goldens) >= 2


@pytest.mark.parametrize("template", Template)
def test_a_project_of_each_template_tests_green(template: Template, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    write_project(folder, template)
    _is_green(folder)
    evaluated = CliRunner().invoke(nlu.app, ["evaluate", str(folder / "heads"), str(folder / "nlu.yml")])
    assert evaluated.exit_code == 0, evaluated.output


def test_the_articles_dialogue_is_held_in_english_and_chinese(tmp_path: Path) -> None:
    copytree(str(files("stream_worker") / "templates" / "demo"), tmp_path / "demo")
    _is_green(tmp_path / "demo")
