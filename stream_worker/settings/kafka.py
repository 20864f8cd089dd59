"""How the worker talks to Kafka. The defaults held under kills, zombies and broker restarts."""

from typing import Literal

from pydantic import Field, model_validator

from stream_worker.settings.base import Section, conflict


class KafkaSettings(Section):
    bootstrap_servers: str = Field(default="localhost:9092", min_length=1)
    """Brokers to start from, `host:port`, separated by commas."""

    client: dict[str, str | int | float | bool] = Field(default_factory=dict, repr=False)
    """librdkafka settings for every client: TLS, SASL and the like. Those that delivery relies on are refused."""

    consumer: dict[str, str | int | float | bool] = Field(default_factory=dict, repr=False)
    """librdkafka settings for the consumer alone."""

    producer: dict[str, str | int | float | bool] = Field(default_factory=dict, repr=False)
    """librdkafka settings for the producers alone."""

    group_protocol: Literal["classic", "consumer"] = "classic"
    """The consumer group protocol; with `consumer` (KIP-848) the broker decides session and heartbeat."""

    start_at: Literal["earliest", "latest"] = "latest"
    """Where a new group starts to read."""

    on_wrong_key: Literal["dead_letter", "warn"] = "dead_letter"
    """What happens to an event whose key is not its conversation; `warn` takes the value's conversation."""

    commit_interval_ms: int = Field(default=100, ge=5, le=5_000)
    """How often finished work is committed, in one transaction."""

    call_timeout_ms: int = Field(default=1_000, ge=100, le=10_000)
    """How long one blocking client call may take before it is resumed."""

    session_timeout_ms: int = Field(default=6_000, ge=1_000, le=300_000)
    """After this long without a heartbeat a worker loses its partitions."""

    heartbeat_interval_ms: int = Field(default=250, ge=100, le=60_000)
    """How often the worker tells the group that it lives; so late it learns that partitions are to be shared anew."""

    max_poll_interval_ms: int = Field(default=60_000, ge=5_000, le=3_600_000)
    """After this long without a poll the worker leaves the group."""

    transaction_timeout_ms: int = Field(default=9_000, ge=1_000, le=900_000)
    """After this long the broker aborts a transaction that a dead worker left open."""

    release_ms: int = Field(default=2_000, ge=0, le=60_000)
    """How long a partition that is taken away may finish its turns; at most a third of `max_poll_interval_ms`."""

    max_aborts_in_a_row: int = Field(default=20, ge=1, le=1_000)
    """After this many aborted transactions in a row the process ends."""

    @model_validator(mode="after")
    def _intervals_fit(self) -> "KafkaSettings":
        """No combination in which the group throws a member out that does what it is to do.

        Heartbeats are sent by a thread of the client, so only they count for the session. Polled is by the worker,
        and not while a partition is given back: it may take `release_ms`, and a third of the interval each for a
        commit that the broker does not answer and for its abort.
        """
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            raise conflict(
                f"heartbeat_interval_ms ({self.heartbeat_interval_ms}) must be at most a third of session_timeout_ms "
                f"({self.session_timeout_ms}): two lost heartbeats would cost the partitions",
                "heartbeat_interval_ms",
                "session_timeout_ms",
            )
        if self.session_timeout_ms > self.max_poll_interval_ms:
            raise conflict(
                f"session_timeout_ms ({self.session_timeout_ms}) must be at most max_poll_interval_ms "
                f"({self.max_poll_interval_ms})",
                "session_timeout_ms",
                "max_poll_interval_ms",
            )
        for name in ("release_ms", "call_timeout_ms"):
            value = getattr(self, name)
            if value * 3 > self.max_poll_interval_ms:
                raise conflict(
                    f"{name} ({value}) must be at most a third of max_poll_interval_ms ({self.max_poll_interval_ms}): "
                    "the worker does not poll meanwhile, and would be thrown out of the group",
                    name,
                    "max_poll_interval_ms",
                )
        return self
