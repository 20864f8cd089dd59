"""`chat.analysis`: how a turn was understood and generated, with its evidence.

Holds text-like data (slot values, sampled ids): the same retention and
masking as for replies applies.
"""

from dataclasses import dataclass, replace
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


def without_evidence(analysis: Analysis) -> Analysis:
    """The analysis without what may be long; it says so."""
    generation = replace(analysis.generation, sampled_ids=[]) if analysis.generation else None
    return replace(analysis, intents=[], slots=[], generation=generation, truncated=True)
