"""`chat.analysis`: how a turn was understood and generated, with its evidence.

Holds text-like data (slot values, sampled ids): the same retention and
masking as for replies applies.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from stream_worker.contracts.fields import Count, Identifier, Millis, Score
from stream_worker.contracts.versions import Versions


@dataclass(kw_only=True)
class IntentEvidence:
    name: str
    """The intent."""

    score: Score
    """Its probability."""


@dataclass(kw_only=True)
class SlotEvidence:
    """A slot as the dialogue used it; `carried` ones come from an earlier turn and have no span."""

    name: str
    """The slot."""

    value: str
    """Its value, as it stands in the text."""

    carried: bool
    """Whether it comes from an earlier turn."""

    start: Count | None = None
    """First code point in the text."""

    end: Count | None = None
    """Code point after its last."""

    score: Score | None = None
    """Its probability."""


@dataclass(kw_only=True)
class SentimentEvidence:
    label: str
    """`negative`, `neutral`, `positive`, or `unknown` where nothing is at hand that judges the language."""

    score: Score
    """How sure it is."""


@dataclass(kw_only=True)
class WordShare:
    """A word of the message, and how much it spoke for a decision."""

    start: Count
    """First code point in the text."""

    end: Count
    """Code point after its last."""

    weight: float
    """From -1 to 1; negative: against."""


@dataclass(kw_only=True)
class DecisionEvidence:
    """Which words spoke for one decision of the understanding."""

    decision: str
    """`intent`, `scope` or `slot`."""

    outcome: str
    """What was decided: the intent, `in_scope` or `out_of_scope`, the slot."""

    method: str
    """How the shares were found: `gradient_x_input` or `occlusion`."""

    words: list[WordShare]
    """The words and their shares."""


@dataclass(kw_only=True)
class GenerationEvidence:
    """What is needed to re-enact the generation."""

    prompt_hash: str
    """Hash of the prompt's token ids."""

    prompt_tokens: Count
    """Length of the prompt."""

    cached_tokens: Count
    """Tokens of it that were not computed again."""

    sampled_ids: list[int]
    """Every sampled token id, the end token included."""

    seed: Count
    """Seed of the sampling."""

    temperature: float
    """Temperature of the sampling."""

    max_new_tokens: Count
    """Limit of the reply's length."""

    log_probabilities: list[float] | None = None
    """Log-probability of each sampled id under the model, where the bot's sampling asks for them."""


@dataclass(kw_only=True)
class Analysis:
    version: Literal[1] = 1
    """Version of this schema."""

    turn_id: Identifier
    """The turn."""

    reply_id: Identifier
    """Its reply."""

    conversation_id: Identifier
    """The conversation."""

    tenant: str
    """The tenant; empty without tenants."""

    language: str
    """Detected language, ISO 639-1."""

    sentences: Count
    """Sentences of the message."""

    intent: str | None
    """The understood intent; null out of scope or without understanding."""

    in_scope: bool
    """Whether the message is about what the bot can do."""

    intents: list[IntentEvidence]
    """Intents with their scores, best first."""

    slots: list[SlotEvidence]
    """Slots as the dialogue used them."""

    decision: str
    """What the dialogue decided."""

    checks: list[str]
    """Checks of the reply that found something."""

    generation: GenerationEvidence | None
    """How the text was generated; null for a template."""

    truncated: bool = False
    """Whether evidence (scores, slots, sampled ids) was left out, because the topic takes no larger record."""

    term: Count
    """Term of the partition that produced it."""

    attempt: Count
    """Attempt of the turn within its term."""

    at: Millis
    """When the turn was settled."""

    versions: Versions
    """What produced it."""

    sentiment: SentimentEvidence | None = None
    """The message's sentiment; null without understanding."""

    evidence: list[DecisionEvidence] = field(default_factory=list)
    """Which words spoke for what; empty unless `understanding.evidence` is set."""


def without_evidence(analysis: Analysis) -> Analysis:
    """The analysis without what may be long; it says so."""
    generation = replace(analysis.generation, sampled_ids=[]) if analysis.generation else None
    return replace(analysis, intents=[], slots=[], evidence=[], generation=generation, truncated=True)
