"""Prompts, sampling and usage: the vocabulary between dialogue and engine."""

from dataclasses import dataclass, replace
from enum import StrEnum


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation as a chat template takes it."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptIds:
    """A prompt in token ids, for engines that take `ids`.

    `common` counts the leading ids that every conversation of the bot shares;
    `known` counts those that this conversation's last turn ended with.
    """

    ids: tuple[int, ...]
    common: int = 0
    known: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptMessages:
    """A prompt as messages, for engines that render their own template."""

    messages: tuple[ChatMessage, ...]


Prompt = PromptIds | PromptMessages


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen. `temperature` 0 is greedy."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Token ids and what is added to their logits, in ascending order of the ids."""
    stop: tuple[str, ...] = ()
    log_probabilities: bool = False
    """Whether the log-probability of each sampled id is reported."""
    json_schema: str | None = None
    """A JSON Schema, as JSON, that the reply's text must keep to."""

    def held_to(self, json_schema: str | None) -> "Sampling":
        """The same for a reply of this schema; None for plain text."""
        return self if json_schema == self.json_schema else replace(self, json_schema=json_schema)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts of one generation; `cached` ids of the prompt were not computed again.

    `cached_replied` of them were sampled in the conversation's last turn.
    """

    prompt: int = 0
    cached: int = 0
    cached_replied: int = 0
    generated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPrompt:
    """The ids of a conversation's last prompt and of the reply sampled after it.

    `covers` counts the leading history messages they stand for; `hash` names
    the tokenizer and template they were made with: under another one they are
    void, and the text is encoded again.
    """

    hash: str
    ids: tuple[int, ...]
    covers: int
