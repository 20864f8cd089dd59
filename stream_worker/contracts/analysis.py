"""`chat.analysis`: how a turn was understood and generated, with its evidence.

Holds text-like data (slot values, sampled ids): the same retention and
masking as for replies applies.
"""

from dataclasses import dataclass
from typing import Literal

from stream_worker.contracts.fields import Count, Identifier, Millis, Score
from stream_worker.contracts.versions import Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentEvidence:
    name: str
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotEvidence:
    """A slot as the dialogue used it; `carried` ones come from an earlier turn and have no span."""

    name: str
    value: str
    carried: bool
    start: Count | None = None
    end: Count | None = None
    score: Score | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationEvidence:
    """What is needed to re-enact the generation."""

    prompt_hash: str
    prompt_tokens: Count
    cached_tokens: Count
    sampled_ids: list[int]
    seed: Count
    temperature: float
    max_new_tokens: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    version: Literal[1] = 1
    turn_id: Identifier
    reply_id: Identifier
    conversation_id: Identifier
    tenant: str
    language: str
    sentences: Count
    intent: str | None
    in_scope: bool
    intents: list[IntentEvidence]
    slots: list[SlotEvidence]
    decision: str
    checks: list[str]
    generation: GenerationEvidence | None
    term: Count
    attempt: Count
    at: Millis
    versions: Versions
