"""What only a worker's own metrics tell: turns at work, cache in use, and the age of its threads' last sign of life.

They come from the workers themselves, or from a Prometheus that scrapes them. Metrics name no member of the group, but
each worker exports the partitions that it has, and so is known by them.
"""

import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson
from prometheus_client.parser import text_string_to_metric_families

from stream_worker.observability.metric_table import PREFIX, Metric, TurnState

_TIMEOUT_S = 2.0
_WANTED = (Metric.KV_CACHE_USAGE, Metric.LOOP_HEARTBEAT, Metric.PARTITION_LAG, Metric.INFLIGHT_TURNS)
_QUERY = f'{{__name__=~"{"|".join(f"{PREFIX}_{each}" for each in _WANTED)}"}}'


@dataclass(frozen=True, slots=True)
class Sample:
    """`target` is whoever exports it."""

    target: str
    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Vitals:
    """Of one worker. `beat_age_s` is that of its quietest thread; None where it does not say.

    `running` are its turns, `queued` those of them that wait for the engine.
    """

    partitions: frozenset[int]
    kv_used: float | None
    beat_age_s: float | None
    running: int = 0
    queued: int = 0


def vitals(samples: Iterable[Sample], now_s: float) -> list[Vitals]:
    """One for each target. Pure; `now_s` is Unix time."""
    by_target: dict[str, list[Sample]] = {}
    for sample in samples:
        by_target.setdefault(sample.target, []).append(sample)
    return [_of(found, now_s) for found in by_target.values()]


def _of(samples: Sequence[Sample], now_s: float) -> Vitals:
    def named(metric: Metric) -> list[Sample]:
        return [each for each in samples if each.name == f"{PREFIX}_{metric}"]

    beats = [each.value for each in named(Metric.LOOP_HEARTBEAT)]
    turns = {each.labels.get("state", ""): int(each.value) for each in named(Metric.INFLIGHT_TURNS)}
    usage = [each.value for each in named(Metric.KV_CACHE_USAGE)]
    return Vitals(
        partitions=frozenset(int(each.labels.get("partition", "-1")) for each in named(Metric.PARTITION_LAG)),
        kv_used=max(usage, default=None),
        beat_age_s=max(0.0, now_s - min(beats)) if beats else None,
        running=turns.get(TurnState.RUNNING, 0),
        queued=turns.get(TurnState.QUEUED, 0),
    )


def ask(workers: Sequence[str], prometheus: str | None) -> list[Vitals]:
    """Of every worker that answers, or that Prometheus knows; who does not answer is not there."""
    found: list[Sample] = []
    for source in [*workers, *([prometheus] if prometheus else [])]:
        try:
            found += _prometheus(source) if source == prometheus else _worker(source)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return vitals(found, time.time())


def _worker(url: str) -> Iterator[Sample]:
    base = url.rstrip("/") if "://" in url else f"http://{url.rstrip('/')}"
    for family in text_string_to_metric_families(_read(f"{base}/metrics").decode()):
        for each in family.samples:
            yield Sample(url, each.name, each.labels, each.value)


def _prometheus(url: str) -> Iterator[Sample]:
    answer = orjson.loads(_read(f"{url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': _QUERY})}"))
    for each in answer["data"]["result"]:
        labels = each["metric"]
        target = f"{labels.get('job', '')} {labels.get('instance', '')}"
        yield Sample(target, labels["__name__"], labels, float(each["value"][1]))


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - given by who started us
        body: bytes = answer.read()
        return body
