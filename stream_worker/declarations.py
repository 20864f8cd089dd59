"""What metrics are told once, at the start: the values that labels may have, and what stands in the settings."""

from collections.abc import Mapping, Sequence

from stream_worker.bot.bot import Bot
from stream_worker.bot.bots import Bots
from stream_worker.errors import Code, Missing
from stream_worker.kafka import topic_admin
from stream_worker.kafka.certificates import client_certificate_expiry
from stream_worker.observability.metric_table import Label, Metric
from stream_worker.observability.metrics import Metrics
from stream_worker.reporter import OUT_OF_SCOPE
from stream_worker.settings import Settings


def declared(bots: Bots, settings: Settings) -> Mapping[Label, tuple[str, ...]]:
    """The values that labels may have beyond those of enumerations: those that bots and settings name."""
    return {**_named(bots.all), Label.TOPIC: (settings.topics.events,)}


def declare_bots(bots: Sequence[Bot], metrics: Metrics) -> None:
    """Values that changed bot files have brought."""
    for label, values in _named(bots).items():
        metrics.declare(label, values)


def _named(bots: Sequence[Bot]) -> dict[Label, tuple[str, ...]]:
    """The values that these bot files name."""
    intents = {name for bot in bots for name in bot.intents} | {OUT_OF_SCOPE}
    rules = [rule for bot in bots for rule in bot.rules]
    commands = {emit.command for rule in rules for emit in rule.emit}
    commands |= {remind.trigger for rule in rules for remind in rule.remind}
    return {
        Label.INTENT: tuple(sorted(intents)),
        Label.LANGUAGE: tuple(sorted({language for bot in bots for language in bot.languages})),
        Label.COMMAND: tuple(sorted(commands)),
        Label.CALL: tuple(sorted({call.name for rule in rules for call in rule.calls})),
    }


def declare_settings(settings: Settings, metrics: Metrics) -> None:
    """Raises Misconfigured where a client certificate is set and cannot be read."""
    metrics.set(Metric.REPLY_SLO, settings.slo.reply_seconds)
    metrics.set(Metric.MAX_POLL_INTERVAL, settings.kafka.max_poll_interval_ms / 1000)
    if (expiry := client_certificate_expiry(settings)) is not None:
        metrics.set(Metric.CERTIFICATE_EXPIRY, expiry)


def declare_topic(settings: Settings, metrics: Metrics) -> None:
    """The input's partitions, by the broker: their number is for life. Raises Missing."""
    topic = settings.topics.events
    facts = topic_admin.describe(topic_admin.connect(settings), [topic]).get(topic)
    if facts is None:
        raise Missing(Code.TOPIC_MISSING, f"the topic {topic} is missing: run `stream-worker topics create`")
    metrics.declare(Label.PARTITION, map(str, range(facts.partitions)))
    metrics.set(Metric.TOPIC_PARTITIONS, facts.partitions, topic)
