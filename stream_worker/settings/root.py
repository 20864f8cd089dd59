"""The whole tree."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from stream_worker.settings.admission import AdmissionSettings
from stream_worker.settings.base import Section, conflict
from stream_worker.settings.calls import CallSettings
from stream_worker.settings.conversation import ConversationSettings
from stream_worker.settings.engine import EngineSettings
from stream_worker.settings.kafka import KafkaSettings
from stream_worker.settings.observability import ObservabilitySettings
from stream_worker.settings.outputs import OutputSettings
from stream_worker.settings.slo import SloSettings
from stream_worker.settings.topics import TopicSettings
from stream_worker.settings.traces import TraceSettings
from stream_worker.settings.understanding import UnderstandingSettings

# It names folders, too, so it must be none that means another one.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$")]


class BotBinding(Section):
    file: Path
    """The bot file."""

    tenant: str = "*"
    """The tenant it answers for; `*` is any."""

    channel: str = "*"
    """The channel it answers on; `*` is any."""


class Settings(Section):
    application_id: Name = "stream-worker"
    """Names everything: the group, transactional ids, changelog and state folder."""

    instance: Name | None = None
    """This worker's stable name, such as the ordinal of its StatefulSet; unset it is random."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """Where the model runs: `auto`, `cpu`, `cuda` or `cuda:N`."""

    bots: tuple[BotBinding, ...] = Field(default=(), max_length=1_000)
    """Which bot file answers whom; the first that fits."""

    tick_ms: int = Field(default=5, ge=1, le=100)
    """The longest wait of the worker while anything is in hand."""

    drain_timeout_s: float = Field(default=20.0, ge=0, le=3_600)
    """How long SIGTERM may take: running turns finish, at the end of it what still runs is given back. At most two
    thirds of `kafka.max_poll_interval_ms`."""

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    outputs: OutputSettings = OutputSettings()
    admission: AdmissionSettings = AdmissionSettings()
    conversation: ConversationSettings = ConversationSettings()
    engine: EngineSettings = EngineSettings()
    calls: CallSettings = CallSettings()
    understanding: UnderstandingSettings = UnderstandingSettings()
    observability: ObservabilitySettings = ObservabilitySettings()
    slo: SloSettings = SloSettings()
    traces: TraceSettings = TraceSettings()

    @model_validator(mode="after")
    def _topics_differ(self) -> "Settings":
        topics = self.topics
        outputs = (topics.replies, topics.deltas, topics.analysis, topics.actions, topics.metrics, topics.dead_letters)
        names = [topics.events, self.changelog, *map(self.output_topic, outputs)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise conflict(f"two of the topics have the same name: {', '.join(twice)}", "topics", "outputs.prefix")
        return self

    @model_validator(mode="after")
    def _drains_in_time(self) -> "Settings":
        """A worker that drains does not poll; its last commit may take the remaining third."""
        interval_s = self.kafka.max_poll_interval_ms / 1000
        if self.drain_timeout_s * 3 > interval_s * 2:
            raise conflict(
                f"drain_timeout_s ({self.drain_timeout_s:g}) must be at most two thirds of kafka.max_poll_interval_ms "
                f"({self.kafka.max_poll_interval_ms}): the worker does not poll while it drains, and would be thrown "
                "out of the group before it has given its partitions back",
                "drain_timeout_s",
                "kafka.max_poll_interval_ms",
            )
        return self

    @property
    def changelog(self) -> str:
        """The compacted topic that holds conversation state and ledgers."""
        return f"{self.application_id}-changelog"

    def output_topic(self, name: str) -> str:
        """The prefixed name of an output topic."""
        return self.outputs.prefix + name
