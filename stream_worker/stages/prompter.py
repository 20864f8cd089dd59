"""From a conversation's state and a new message to the engine's prompt, and back to what is stored.

Two ways, by what the engine takes: token ids, append-only over the turns, or
messages that the engine renders itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Protocol, assert_never

import orjson

from stream_worker.conversation.state import ConversationState, Line, Speaker
from stream_worker.stages.facts import fenced, unfenced
from stream_worker.stages.prompt import (
    BuiltPrompt,
    ChatFormat,
    Tokenizer,
    after_reply,
    build_prompt,
    first_that_fits,
    one_a_role,
)
from stream_worker.tokens import ChatMessage, Prompt, PromptIds, PromptMessages, Role, StoredPrompt

_CUT = "…"
_CHARS_A_TOKEN = 3
_BYTES_A_TOKEN = 3
_TOKENS_A_MESSAGE = 8
"""Low guesses, for engines that tokenize themselves: English has some four bytes a token, Chinese three or more."""


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """A prompt for the engine. `dropped` lines of history did not fit; `built` is None for messages."""

    prompt: Prompt
    dropped: int
    built: BuiltPrompt | None
    hash: str


class Prompter(Protocol):
    def prepare(self, system: str, state: ConversationState, lines: Sequence[Line]) -> PreparedPrompt:
        """The prompt that ends with these new lines.

        Raises BadEvent when they can never fit the model.
        """
        ...

    def store(self, prepared: PreparedPrompt, sampled: tuple[int, ...], suffix: str) -> StoredPrompt | None:
        """What is kept beside the text so that the next prompt begins with exactly these ids.

        `suffix` is what was put after the sampled reply.
        """
        ...

    def cut(self, text: str, tokens: int) -> str:
        """The text, or so much of its beginning as has so many tokens."""
        ...


class IdPrompter:
    """For engines that take ids. `limit_tokens` is the most a prompt may have."""

    def __init__(self, chat_format: ChatFormat, tokenizer: Tokenizer, limit_tokens: int) -> None:
        self._format = chat_format
        self._tokenizer = tokenizer
        self._limit = limit_tokens

    def prepare(self, system: str, state: ConversationState, lines: Sequence[Line]) -> PreparedPrompt:
        history = messages(state, lines)
        new = max(1, len(lines))
        built = build_prompt(self._format, self._tokenizer, system, history, state.prompt, self._limit, new=new)
        return PreparedPrompt(built.prompt, built.dropped, built, prompt_hash(built.prompt))

    def store(self, prepared: PreparedPrompt, sampled: tuple[int, ...], suffix: str) -> StoredPrompt | None:
        if prepared.built is None:
            return None
        stored = after_reply(prepared.built, sampled)
        return replace(stored, ids=(*stored.ids, *self._tokenizer.encode_text(suffix))) if suffix else stored

    def cut(self, text: str, tokens: int) -> str:
        while (length := len(self._tokenizer.encode_text(text))) > tokens:
            text = text[: min(len(text) - 2, len(text) * tokens // length)] + _CUT
        return text


class MessagePrompter:
    """For engines that render their own template, and count tokens their own way: `limit_tokens` is held by a guess.

    Whether the new messages alone fit is the engine's to say.
    """

    def __init__(self, limit_tokens: int | None = None) -> None:
        self._limit = limit_tokens

    def prepare(self, system: str, state: ConversationState, lines: Sequence[Line]) -> PreparedPrompt:
        history = messages(state, lines)
        dropped = self._too_many(system, history, len(history) - max(1, len(lines)))
        prompt = as_messages(system, history[dropped:])
        return PreparedPrompt(prompt, dropped, None, prompt_hash(prompt))

    def _too_many(self, system: str, history: Sequence[ChatMessage], old: int) -> int:
        """How many of the `old` messages at the beginning are left out: none, or down to half the limit."""
        if self._limit is None or _guess(system) + sum(_guess(each.text) for each in history) <= self._limit:
            return 0
        return first_that_fits(history, old, self._limit // 2 - _guess(system), _guess)

    def store(
        self,
        prepared: PreparedPrompt,  # noqa: ARG002
        sampled: tuple[int, ...],  # noqa: ARG002
        suffix: str,  # noqa: ARG002
    ) -> StoredPrompt | None:
        return None

    def cut(self, text: str, tokens: int) -> str:
        most = tokens * _CHARS_A_TOKEN
        return text if len(text) <= most else text[: most - 1] + _CUT


def prompt_hash(prompt: Prompt) -> str:
    """What the records of a turn name its prompt by: a hash of the ids, or of the messages."""
    match prompt:
        case PromptIds(ids=ids):
            told = b"".join(token.to_bytes(4, "little") for token in ids)
        case PromptMessages():
            told = orjson.dumps(prompt)
        case _:
            assert_never(prompt)
    return blake2b(told, digest_size=16).hexdigest()


def as_messages(system: str, history: Sequence[ChatMessage]) -> PromptMessages:
    """The prompt of an engine that renders its own template."""
    first = [ChatMessage(Role.SYSTEM, system)] if system else []
    return PromptMessages(messages=(*first, *one_a_role(history)))


def _guess(text: str) -> int:
    return len(text.encode("utf-8", "replace")) // _BYTES_A_TOKEN + _TOKENS_A_MESSAGE


def messages(state: ConversationState, lines: Sequence[Line]) -> tuple[ChatMessage, ...]:
    """The history and the new lines; an empty one where nobody wrote."""
    said = tuple(_message(line) for line in (*state.history, *lines))
    return said if lines else (*said, ChatMessage(Role.USER, ""))


def _message(line: Line) -> ChatMessage:
    """A line as the model is told it. Nobody's words but ours ever take the system's role."""
    match line.speaker:
        case Speaker.USER:
            text = unfenced(line.text)
            return ChatMessage(Role.USER, f"{unfenced(line.name)}: {text}" if line.name else text)
        case Speaker.BOT:
            return ChatMessage(Role.ASSISTANT, line.text)
        case Speaker.AGENT:
            return ChatMessage(Role.ASSISTANT, f"(A human colleague:) {unfenced(line.text)}")
        case Speaker.NOTE:
            return ChatMessage(Role.USER, fenced("note", line.text))
        case Speaker.FACTS:
            return ChatMessage(Role.USER, fenced("data", line.text))
        case _:
            assert_never(line.speaker)
