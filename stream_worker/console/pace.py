"""How fast events are answered, from the last settled ones. Pure; holds at most `MAX_ENDINGS` of them."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from stream_worker.contracts.metric import EventMetric
from stream_worker.outcome import Outcome

MAX_ENDINGS = 20_000
MINUTE_MS = 60_000
WINDOW_MS = 15 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Tiles:
    """Of the last minutes; seconds, and None where nothing was answered."""

    replies_per_s: float
    reply_p50: float | None
    reply_p95: float | None
    first_token_p95: float | None
    cached_share: float | None
    history: tuple[int, ...]
    """Replies of each of the last 60 slices of 5 seconds, oldest first."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one member's partitions did in the window."""

    replies_per_min: float = 0.0
    cached_share: float | None = None
    version: str = ""
    model: str = ""
    last_at: int | None = None


@dataclass(slots=True)
class Pace:
    _endings: deque[EventMetric] = field(default_factory=lambda: deque(maxlen=MAX_ENDINGS))

    def take(self, metric: EventMetric) -> None:
        self._endings.append(metric)

    def tiles(self, now: int) -> Tiles:
        replied = [each for each in self._since(now - WINDOW_MS) if each.outcome is Outcome.REPLIED]
        last_minute = sum(1 for each in replied if each.at >= now - MINUTE_MS)
        totals = sorted(each.timings.total for each in replied)
        firsts = sorted(t.first_token for t in (each.timings for each in replied) if t.first_token)
        slices = [0] * 60
        for each in replied:
            if 0 <= (ago := (now - each.at) // 5_000) < 60:
                slices[59 - ago] += 1
        return Tiles(
            replies_per_s=last_minute / 60,
            reply_p50=_quantile(totals, 0.5),
            reply_p95=_quantile(totals, 0.95),
            first_token_p95=_quantile(firsts, 0.95),
            cached_share=_cached(replied),
            history=tuple(slices),
        )

    def share(self, partitions: frozenset[int], now: int) -> Share:
        """Of the events of these partitions."""
        ours = [each for each in self._since(now - WINDOW_MS) if each.partition in partitions]
        if not ours:
            return Share()
        newest = max(ours, key=lambda each: each.at)
        replied = [each for each in ours if each.outcome is Outcome.REPLIED]
        return Share(
            replies_per_min=sum(1 for each in replied if each.at >= now - MINUTE_MS),
            cached_share=_cached(replied),
            version=newest.versions.worker,
            model=newest.versions.model,
            last_at=newest.at,
        )

    def _since(self, at: int) -> Iterable[EventMetric]:
        return (each for each in self._endings if each.at >= at)


def _cached(metrics: Iterable[EventMetric]) -> float | None:
    tokens = [each.tokens for each in metrics]
    prompt = sum(each.prompt for each in tokens)
    return sum(each.cached for each in tokens) / prompt if prompt else None


def _quantile(ordered: list[float], share: float) -> float | None:
    """Nearest rank."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
