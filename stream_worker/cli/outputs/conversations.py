"""Conversations: where one stands, and how its turns came about."""

from dataclasses import dataclass

from stream_worker.contracts.analysis import GenerationEvidence, IntentEvidence, SlotEvidence
from stream_worker.contracts.metric import Timings
from stream_worker.contracts.versions import Versions
from stream_worker.conversation.state import Holder, Speaker


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsettledEvent:
    """An event of the conversation that is not settled."""

    offset: int
    """Its offset in the input partition."""

    event_id: str
    """Its id."""

    written_ms: int
    """When it was written: milliseconds since the epoch, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the conversation's history."""

    at: int
    """When: milliseconds since the epoch, UTC."""

    speaker: Speaker
    """Who said it."""

    text: str
    """What was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationShown:
    """One conversation, as Kafka knows it. What is of its state is null where there is none."""

    conversation: str
    """Its key: with its tenant, where there are tenants."""

    why: str
    """Why it waits, or that it does not, in one line."""

    partition: int
    """Its partition of the input."""

    owner: str | None
    """The group's member that has the partition."""

    term: int | None
    """How often the partition has been taken."""

    holder: Holder | None
    """Who has the conversation."""

    turns: int | None
    """How many turns it has had."""

    lines: int | None
    """How many lines its history has."""

    unsettled: list[UnsettledEvent]
    """Its events that are not settled."""

    records_before: int
    """How many unsettled records of the partition come before its first one."""

    history: list[Line] | None = None
    """What was said, with `--text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnExplained:
    """How one turn came about."""

    at: int
    """When it was answered: milliseconds since the epoch, UTC."""

    turn_id: str
    """The turn's id."""

    intent: str | None
    """What was understood; null where nothing was."""

    decision: str
    """What the dialogue decided."""

    attempt: int
    """How often the turn was started."""

    prompt: int | None
    """Tokens of the prompt; null, as the next three, where the turn's metric was not found."""

    cached: int | None
    """Tokens of it that were not computed again."""

    generated: int | None
    """Tokens of the reply."""

    seconds: float | None
    """From the event's writing to its settling."""

    timings: Timings | None
    """Seconds per stage; null where the turn's metric was not found."""

    intents: list[IntentEvidence]
    """Every intent's score, the best first."""

    slots: list[SlotEvidence]
    """The slots that the dialogue used. Their values may be what somebody wrote."""

    generation: GenerationEvidence | None
    """How the reply was generated; null where it was not."""

    versions: Versions
    """Of everything that had a part in it."""
