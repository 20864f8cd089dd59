"""Bot files that change while the worker runs: read anew, validated whole, and swapped between two ticks.

Runs on the worker thread. A file that is wrong changes nothing: the bots that
answered before go on, and the log and a metric say so.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from stream_worker.bot.bot import Bot
from stream_worker.bot.bots import Bots
from stream_worker.bot.loader import load_bindings
from stream_worker.clock import Clock
from stream_worker.errors import Code, Misconfigured, StreamWorkerError
from stream_worker.observability.metric_table import Metric
from stream_worker.observability.metrics import Metrics
from stream_worker.settings import Settings

_LOOK_EVERY_S = 1.0

Stamp = tuple[tuple[int, int], ...]


class BotReloader:
    """`fits` raises for bots that the engine is not loaded for; `adopted` is told of the new ones after the swap."""

    def __init__(
        self,
        settings: Settings,
        bots: Bots,
        metrics: Metrics,
        clock: Clock,
        adopted: Callable[[Sequence[Bot]], None] = lambda _: None,
        fits: Callable[[Sequence[Bot]], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._bots = bots
        self._metrics = metrics
        self._clock = clock
        self._adopted = adopted
        self._fits = fits
        self._files = sorted({binding.file for binding in settings.bots})
        self._stamp = self._stamped()
        self._due = 0.0
        self._log = structlog.get_logger().bind()
        # What the model and the encoder were loaded for; more than that needs a new process.
        self._longest_reply = max((bot.sampling.max_new_tokens for bot in bots.all), default=0)
        self._heads = frozenset(bot.understanding for bot in bots.all)
        metrics.set(Metric.BOT_RELOAD_SUCCESS, 1)

    def __call__(self) -> None:
        """Looks at the files, about once a second."""
        now = self._clock.monotonic()
        if now < self._due:
            return
        self._due = now + _LOOK_EVERY_S
        stamp = self._stamped()
        if stamp != self._stamp:
            self._stamp = stamp
            self._reload()

    def _reload(self) -> None:
        try:
            bindings = load_bindings(self._settings)
            bots = list({binding.bot.name: binding.bot for binding in bindings}.values())
            self._require_fitting(bots)
            self._fits(bots)
        except StreamWorkerError as error:
            self._metrics.set(Metric.BOT_RELOAD_SUCCESS, 0)
            self._log.error("bot file refused", code=error.code.id, detail=error.detail)
            return
        self._bots.replace(bindings)
        self._adopted(bots)
        self._metrics.set(Metric.BOT_RELOAD_SUCCESS, 1)
        self._log.info("bots reloaded", bots=",".join(f"{bot.name}@{bot.version}" for bot in bots))

    def _require_fitting(self, bots: Sequence[Bot]) -> None:
        for bot in bots:
            if bot.understanding not in self._heads and bot.understanding is not None:
                raise Misconfigured(
                    Code.BOT_INVALID,
                    f"the understanding of the bot {bot.name} is not loaded: restart the worker ({bot.understanding})",
                )
            if bot.sampling.max_new_tokens > self._longest_reply:
                raise Misconfigured(
                    Code.BOT_INVALID,
                    f"the bot {bot.name} asks for replies of {bot.sampling.max_new_tokens} tokens, the model was "
                    f"loaded for {self._longest_reply}: restart the worker",
                )

    def _stamped(self) -> Stamp:
        return tuple(_stamp_of(file) for file in self._files)


def _stamp_of(file: Path) -> tuple[int, int]:
    """Changes when the file does; a Kubernetes ConfigMap swaps a link, which changes the inode."""
    try:
        status = file.stat()
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_ino)
