"""How much the worker takes in hand, and for how long."""

from typing import Annotated

from pydantic import Field, model_validator

from stream_worker.settings.base import Section, conflict
from stream_worker.turn_taking import OnNewMessage, TurnTaking


class AdmissionSettings(Section):
    tenants: bool = False
    """Whether events carry a tenant; then the key of every topic is `<tenant>/<conversation_id>`."""

    max_text_chars: int = Field(default=16_384, ge=1, le=2_000_000)
    """A message longer than this becomes a dead letter."""

    max_running_turns: int = Field(default=64, ge=1, le=10_000)
    """Turns that are understood or generated at the same time."""

    max_waiting_events: int = Field(default=32, ge=1, le=10_000)
    """Events of one conversation that may wait; beyond it a message joins the one before it, else it is `shed`."""

    sender_messages_per_minute: int = Field(default=0, ge=0, le=1_000_000)
    """Messages of one sender that are answered; what comes beyond is settled as `shed`. 0 is no limit."""

    sender_burst: int = Field(default=20, ge=1, le=1_000_000)
    """Messages of one sender that may come at once."""

    tenant_messages_per_minute: int = Field(default=0, ge=0, le=100_000_000)
    """Messages of one tenant, in the whole group, that are answered; about. 0 is no limit."""

    tenant_burst: int = Field(default=1_000, ge=1, le=100_000_000)
    """Messages of one tenant, in the whole group, that may come at once."""

    tenant_weights: dict[str, Annotated[float, Field(gt=0, le=1_000)]] = Field(default_factory=dict)
    """How tenants share the running turns while more wait than run; one that is not named here has the weight 1."""

    upper_mark_events: int = Field(default=2_000, ge=2, le=1_000_000)
    """Above this many events in hand the worker takes slowly, and pauses where that lasts."""

    lower_mark_events: int = Field(default=1_000, ge=1, le=1_000_000)
    """At this many events in hand it takes at full speed again; from half of it on, of each partition its share."""

    upper_mark_bytes: int = Field(default=256 * 1024 * 1024, ge=1 << 20)
    """Above this many bytes of events in hand the worker takes slowly, too."""

    pause_after_ms: int = Field(default=3_000, ge=100, le=60_000)
    """How long it takes slowly before it pauses its partitions."""

    on_new_message: OnNewMessage = OnNewMessage.QUEUE
    """What a message does that arrives while its conversation is busy, unless the bot file says otherwise."""

    merge_window_ms: int = Field(default=0, ge=0, le=60_000)
    """How long a turn waits for more messages of its sender, with `merge` or `interrupt`; 0 starts it at once."""

    max_hold_ms: int = Field(default=10_000, ge=0, le=600_000)
    """From a turn's first event on, how long messages may join it."""

    max_event_age_ms: int = Field(default=0, ge=0)
    """Events older than this, or that would be by the end of their turn, are settled as `expired`; 0 is off."""

    max_attempts: int = Field(default=3, ge=1, le=100)
    """How often a turn is tried before its events become dead letters."""

    max_turn_ms: int = Field(default=120_000, ge=100, le=3_600_000)
    """How long a turn may take, calls and the wait for the engine included; then it is cancelled and counts as an
    attempt."""

    retry_backoff_ms: int = Field(default=500, ge=0, le=60_000)
    """Pause before a turn is tried again, and the first pause while the engine is away (it doubles up to 30 s)."""

    @property
    def turn_taking(self) -> TurnTaking:
        """What holds for bots that say nothing of it."""
        return TurnTaking(
            on_new_message=self.on_new_message,
            merge_window_ms=self.merge_window_ms,
            max_hold_ms=self.max_hold_ms,
            max_chars=self.max_text_chars,
        )

    @model_validator(mode="after")
    def _marks_in_order(self) -> "AdmissionSettings":
        if self.lower_mark_events >= self.upper_mark_events:
            raise conflict(
                f"lower_mark_events ({self.lower_mark_events}) must be below upper_mark_events "
                f"({self.upper_mark_events})",
                "lower_mark_events",
                "upper_mark_events",
            )
        return self
