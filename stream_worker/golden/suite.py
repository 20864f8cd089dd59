"""From a bot's folder to played conversations: settings, understanding, stage."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stream_worker.bot.bot import Bot
from stream_worker.bot.bots import Bots
from stream_worker.bot.loader import load_bots
from stream_worker.cache import cache_folder
from stream_worker.errors import Code, Misconfigured, Missing
from stream_worker.golden.conversation import Golden
from stream_worker.golden.coverage import coverage
from stream_worker.golden.heads import ensure_heads
from stream_worker.golden.play import Played, play
from stream_worker.golden.report import Report
from stream_worker.golden.seen import Judge
from stream_worker.golden.stage import Stage
from stream_worker.golden.understanding import RememberingEncoder
from stream_worker.inference.stepper import Encoder
from stream_worker.orders import Encode, Result
from stream_worker.settings import Settings
from stream_worker.settings.loader import load_settings

Progress = Callable[[str], None]

CONFIG = "stream-worker.yaml"
BOT = "bot.yaml"
EXAMPLES = "nlu.yml"

#: What a stage in memory wants, whatever the bot's own settings say.
_IN_MEMORY: dict[str, Any] = {
    "topics.partitions": 1,
    "topics.replication_factor": 1,
    "topics.min_insync_replicas": 1,
    "kafka.start_at": "earliest",
    "kafka.commit_interval_ms": 10,
    "outputs.analysis": True,
}


def bot_settings(folder: Path) -> Settings:
    """The settings beside a bot, if there are any; else those of a plain worker with this one bot."""
    config = folder / CONFIG
    given = dict(_IN_MEMORY)
    if not config.is_file():
        if not (folder / BOT).is_file():
            raise Missing(Code.BOT_UNREADABLE, f"there is no {BOT} in {folder}: name the folder of a bot")
        settings = Settings.model_validate({"bots": [{"file": folder / BOT}]})
        return Settings.model_validate(_merged(settings.model_dump(), given))
    return Settings.model_validate(_merged(load_settings(config, {}).model_dump(), given))


def _merged(tree: dict[str, Any], flat: dict[str, Any]) -> dict[str, Any]:
    for path, value in flat.items():
        section, _, key = path.partition(".")
        tree[section][key] = value
    return tree


class Encoders:
    """An `Encoder` of several heads, each remembered apart."""

    def __init__(self, by_heads: dict[str, RememberingEncoder]) -> None:
        self._by_heads = by_heads

    def encode(self, orders: list[Encode]) -> list[Result]:
        return [self._by_heads[order.heads].encode([order])[0] for order in orders]

    def save(self) -> None:
        for each in self._by_heads.values():
            each.save()


class Suite:
    """The bots of a folder, ready to play. `real` answers with the settings' engine instead of the scripted one."""

    def __init__(self, folder: Path, progress: Progress, *, real: bool = False) -> None:
        self.settings = bot_settings(folder)
        self.bots = load_bots(self.settings)
        heads = {bot.understanding: bot for bot in self.bots.all if bot.understanding is not None}
        self._encoders = Encoders(
            {folder: self._remembering(Path(folder), bot, progress) for folder, bot in heads.items()}
        )
        self._model = None
        if real:
            from stream_worker.clock import SystemClock
            from stream_worker.loading import load

            self._model = load(self.settings, self.bots.all, cache_folder("models"), SystemClock(), progress)
            if self._model.generator is not None:
                kind = self.settings.engine.kind
                message = f"engine.kind is {kind}, whose replies take real time: conversations are tested with torch"
                raise Misconfigured(Code.CONFIG_INVALID_VALUE, message)
        self.stage = Stage(self.settings, self.bots, lambda: self._encoders, self._model)

    def run(self, goldens: Sequence[Golden], repeat: int = 1, judge: Judge | None = None) -> Report:
        started = time.monotonic()
        rounds = [
            tuple(self._play(golden, f"{number}/{place}", judge) for place, golden in enumerate(goldens))
            for number in range(repeat)
        ]
        self._encoders.save()
        covered = coverage(self.bots.all, rounds[0])
        return Report(tuple(rounds), tuple(covered), time.monotonic() - started)

    def save(self) -> None:
        """Keeps what was understood, for the next time."""
        self._encoders.save()

    def _play(self, golden: Golden, name: str, judge: Judge | None) -> Played:
        started = time.monotonic()
        played = play(self.stage, golden, f"{golden.path.stem}-{name}", judge)
        played.seconds = time.monotonic() - started
        return played

    def _remembering(self, heads: Path, bot: Bot, progress: Progress) -> RememberingEncoder:
        name, examples = self.settings.understanding.encoder, heads.parent / EXAMPLES
        if name is None:
            message = f"the bot {bot.name} has an understanding, but understanding.encoder is off"
            raise Missing(Code.HEADS_NOT_FOUND, message)
        if examples.is_file():
            ensure_heads(heads, examples, name, progress)
        return RememberingEncoder(
            heads, name, cache_folder("understood"), lambda: self._loaded(str(heads), bot, progress)
        )

    def _loaded(self, heads: str, bot: Bot, progress: Progress) -> Encoder:
        progress("loading the encoder")
        from stream_worker.inference.encoder import load_encoder

        understanding = self.settings.understanding
        intents = {heads: {*bot.intents, *bot.fills_slots}}
        return load_encoder(understanding.encoder or "", intents, understanding.max_tokens)


def bots_of(folder: Path) -> Bots:
    """The bots of a folder, without their understanding."""
    return load_bots(bot_settings(folder))
