"""What threads send each other: orders to the device, results to the worker.

Plain frozen data, one class per hop. Every one carries the `TurnRef` it is
for; a result whose ref is not the running attempt of a live assignment is
counted and dropped by the worker, in one place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct

from stream_worker.outcome import DeadLetterReason, FinishReason
from stream_worker.tokens import Prompt, Sampling, Usage


class TurnRef(Struct, frozen=True):
    """Names one attempt of one turn under one term of its partition."""

    partition: int
    term: int
    turn_id: str
    attempt: int
    number: int = 0
    """Of all attempts that this process began: an event that comes again begins anew under the same id."""


# Orders


@dataclass(frozen=True, slots=True, kw_only=True)
class Encode:
    """Understand this text. `heads` names the trained heads (the bot's) to apply; `language` is in ISO 639-1."""

    ref: TurnRef
    text: str
    heads: str
    language: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Generate a reply. `cache_scope` separates tenants, models and templates in any cache."""

    ref: TurnRef
    conversation: str
    prompt: Prompt
    sampling: Sampling
    seed: int
    cache_scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Stop this generation; exactly one `Ended` follows, unless it has ended already."""

    ref: TurnRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Drop what any cache holds of this conversation, now: it was erased."""

    conversation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The partition is another worker's: what a cache holds of its conversations goes first in line for eviction."""

    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """Drop what was released of this partition and has not been used again.

    Its owner alone hears of an erasure: who had it before must not keep what was said for ever.
    """

    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Read this over HTTP, within `timeout_ms`, retries included. `number` tells a turn's calls apart, from 1."""

    ref: TurnRef
    number: int
    name: str
    url: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    timeout_ms: int
    retries: int


# Results


@dataclass(frozen=True, slots=True)
class IntentScore:
    name: str
    score: float


@dataclass(frozen=True, slots=True)
class SlotSpan:
    """A slot found in the text; `start` and `end` are code points of the text as it was given.

    `role` and `group` tell slots of one name apart: from where, to where.
    """

    name: str
    value: str
    start: int
    end: int
    score: float
    role: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Sentiment:
    """`label` is negative, neutral, positive, or unknown where nothing is at hand that judges the language."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class WordWeight:
    """A word of the text, by its code points, and how much it spoke for a decision; negative: against."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """The words that spoke for one decision: `intent`, `scope` or `slot`, and what was decided."""

    decision: str
    outcome: str
    method: str
    words: tuple[WordWeight, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """What the heads say of one text: every intent's score, best first."""

    ref: TurnRef
    intents: tuple[IntentScore, ...]
    in_scope: bool
    scope: float
    slots: tuple[SlotSpan, ...]
    batch_size: int
    seconds: float
    sentiment: Sentiment | None = None
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Text that became readable since the last one; ids may be several (multi-byte characters)."""

    ref: TurnRef
    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """A generation that ended by itself. `ids` are all sampled ids, the end token included.

    `log_probabilities` are theirs under the model, where they were asked for.
    Seconds count from the engine's acceptance of the order.
    """

    ref: TurnRef
    text: str
    ids: tuple[int, ...]
    finish_reason: FinishReason
    usage: Usage
    queued_seconds: float
    first_token_seconds: float
    seconds: float
    log_probabilities: tuple[float, ...] = ()
    stopped_at_text: bool = False
    """Whether a stop text ended it: the ids then say more than the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A generation that was cancelled has stopped."""

    ref: TurnRef


class Fault(StrEnum):
    """Whose fault a failed order is."""

    EVENT = "event"
    ENGINE = "engine"
    """It is away or has too much to do; it will be back."""
    CONFIGURATION = "configuration"
    """It is there and refuses us: a person must change something. Held like one that is away, and never the event's."""
    FATAL = "fatal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An order that could not be carried out; `reason` is the dead letter's if attempts run out."""

    ref: TurnRef
    fault: Fault
    reason: DeadLetterReason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What a call found out: decoded JSON, or text."""

    ref: TurnRef
    number: int
    result: object
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailed:
    """A call that came to nothing. `message` holds no text of the user's."""

    ref: TurnRef
    number: int
    message: str
    seconds: float


Keeping = Forget | Release | Expire
"""What a cache is told of what it keeps."""

Order = Encode | Generate | Cancel | Keeping
Result = Encoded | Token | Generated | Ended | Failed | Called | CallFailed
