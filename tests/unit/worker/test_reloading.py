"""A bot file that changes is taken up by a running worker; a broken one changes nothing and says so."""

import os
from pathlib import Path

import pytest

from stream_worker.bot.loader import load_bots
from stream_worker.clock import ManualClock
from stream_worker.errors import Code, Misconfigured
from stream_worker.observability.metric_table import PREFIX, Metric
from stream_worker.observability.metrics import Metrics
from stream_worker.reloading import BotReloader
from stream_worker.settings import Settings

_PLAIN = "bot: plain\nfallback: {reply: {template: TEXT}}\n"


class _Watched:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.write("one")
        self.settings = settings = Settings.model_validate({"bots": [{"file": file}]})
        self.clock, self.metrics, self.adopted = ManualClock(), Metrics({}), 0
        self.bots = load_bots(settings)
        self.reload = BotReloader(settings, self.bots, self.metrics, self.clock, self._adopt)

    def _adopt(self, _: object) -> None:
        self.adopted += 1

    def write(self, text: str) -> None:
        self.file.write_text(text if text.startswith("bot") else _PLAIN.replace("TEXT", text))
        # As if it took its time: two writes within one tick of the file system's clock are one change.
        os.utime(self.file, ns=(self.file.stat().st_mtime_ns + 1_000, self.file.stat().st_mtime_ns + 1_000))

    def look(self) -> None:
        self.clock.advance(1.0)
        self.reload()

    @property
    def version(self) -> str:
        bot = self.bots.find("", "")
        assert bot is not None
        return bot.version

    @property
    def succeeded(self) -> float | None:
        return self.metrics.registry.get_sample_value(f"{PREFIX}_{Metric.BOT_RELOAD_SUCCESS}")


@pytest.fixture
def watched(tmp_path: Path) -> _Watched:
    return _Watched(tmp_path / "bot.yaml")


def test_a_changed_file_answers_from_the_next_tick_on(watched: _Watched) -> None:
    first = watched.version
    watched.write("two")
    watched.look()
    assert watched.version != first
    assert (watched.adopted, watched.succeeded) == (1, 1)


def test_an_unchanged_file_is_not_read_again(watched: _Watched) -> None:
    for _ in range(3):
        watched.look()
    assert watched.adopted == 0


@pytest.mark.parametrize(
    "broken",
    [
        "bot: [",
        "bot: plain\nfalback: {}\n",
        "bot: plain\nunderstanding: new-heads\n",
        "bot: plain\nversion: 2024-01-99\n",
    ],
)
def test_a_file_that_cannot_be_taken_up_keeps_the_old_bot_until_it_is_mended(watched: _Watched, broken: str) -> None:
    first = watched.version
    watched.write(broken)
    watched.look()
    assert (watched.version, watched.adopted, watched.succeeded) == (first, 0, 0)
    watched.write("three")
    watched.look()
    assert watched.version != first
    assert watched.succeeded == 1


def test_a_file_that_is_gone_keeps_the_old_bot(watched: _Watched) -> None:
    first = watched.version
    watched.file.unlink()
    watched.look()
    assert (watched.version, watched.succeeded) == (first, 0)


def test_longer_replies_than_the_model_was_loaded_for_are_refused(watched: _Watched) -> None:
    watched.write("bot: plain\nsampling: {max_new_tokens: 4096}\n")
    watched.look()
    assert watched.succeeded == 0


def test_bots_that_the_engine_cannot_serve_are_refused(watched: _Watched) -> None:
    def fits(_bots: object) -> None:
        raise Misconfigured(Code.MODEL_UNSUITABLE, "bot 'plain' asks for json_schema")

    watched.reload = BotReloader(watched.settings, watched.bots, watched.metrics, watched.clock, fits=fits)
    first = watched.version
    watched.write("three")
    watched.look()
    assert (watched.version, watched.succeeded) == (first, 0)
