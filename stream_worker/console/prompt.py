"""The exact prompt of a turn, found again in the conversation's state, and proved by the hash in its analysis. Pure.

Prompts are only ever appended to: the ids that the state keeps for the next turn begin with the prompt of every turn
since the last cut. An engine that takes messages was told the history, which is in the state, too. What does not have
the turn's hash is not its prompt, and is not shown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stream_worker.contracts.analysis import Analysis, GenerationEvidence
from stream_worker.conversation.state import ConversationState, Speaker
from stream_worker.outcome import FinishReason
from stream_worker.stages.prompter import as_messages, messages, prompt_hash
from stream_worker.tokens import Prompt, PromptIds


@dataclass(frozen=True, slots=True)
class Shaded:
    """A prompt as text: what was cached, and what was computed after it."""

    cached: str
    computed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What a turn came to when it was run again. Ids are those that were sampled; `before` in the turn itself.

    `has_same_bot`: the bot's file has the version that the turn had; else its sampling may be another one.
    """

    text: str
    ids: tuple[int, ...]
    before: tuple[int, ...]
    finish_reason: FinishReason
    seconds: float
    model: str
    has_same_bot: bool

    @property
    def same(self) -> int:
        """How many ids are the same before the first that is not."""
        return _leading(self.ids, self.before)

    @property
    def is_same(self) -> bool:
        return self.ids == self.before


def exact_prompt(state: ConversationState, analysis: Analysis, system: str) -> Prompt | None:
    """The prompt whose hash the analysis has; None where the state holds it no more.

    `system` is the bot's system text, which stands in no state: with another one the hash differs.
    """
    generation = analysis.generation
    if generation is None:
        return None
    for prompt in (_ids(state, generation), _messages(state, analysis.reply_id, system)):
        if prompt is not None and prompt_hash(prompt) == generation.prompt_hash:
            return prompt
    return None


def shaded(ids: Sequence[int], cached: int, spell: Callable[[Sequence[int]], str]) -> Shaded:
    """A token at the border that is a part of a character belongs to what was computed."""
    whole = spell(ids)
    border = _leading(spell(ids[:cached]), whole)
    return Shaded(whole[:border], whole[border:])


def _leading(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many items at the beginning are the same."""
    pairs = zip(one, other, strict=False)
    return next((number for number, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def _ids(state: ConversationState, generation: GenerationEvidence) -> Prompt | None:
    return None if state.prompt is None else PromptIds(ids=state.prompt.ids[: generation.prompt_tokens])


def _messages(state: ConversationState, reply_id: str, system: str) -> Prompt | None:
    """What was said before the reply."""
    said = [(line.speaker, line.event_id) for line in state.history]
    reply = (Speaker.BOT, reply_id)
    return as_messages(system, messages(state, ())[: said.index(reply)]) if reply in said else None
