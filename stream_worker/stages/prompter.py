"""From a conversation's state and a new message to the engine's prompt, and back to what is stored.

Two ways, by what the engine takes: token ids, append-only over the turns, or
messages that the engine renders itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

import orjson

from stream_worker.conversation.state import ConversationState, Speaker
from stream_worker.stages.prompt import BuiltPrompt, ChatFormat, Tokenizer, after_reply, build_prompt, one_a_role
from stream_worker.tokens import ChatMessage, Prompt, PromptMessages, Role, StoredPrompt

_ROLES = {Speaker.USER: Role.USER, Speaker.BOT: Role.ASSISTANT, Speaker.AGENT: Role.ASSISTANT}


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """A prompt for the engine. `dropped` lines of history did not fit; `built` is None for messages."""

    prompt: Prompt
    dropped: int
    built: BuiltPrompt | None
    hash: str


class Prompter(Protocol):
    def prepare(self, system: str, state: ConversationState, texts: Sequence[str]) -> PreparedPrompt:
        """The prompt that ends with these new texts of the user.

        Raises BadEvent when they can never fit the model.
        """
        ...

    def store(self, prepared: PreparedPrompt, sampled: tuple[int, ...]) -> StoredPrompt | None:
        """What is kept beside the text so that the next prompt begins with exactly these ids."""
        ...


class IdPrompter:
    """For engines that take ids. `limit_tokens` is the most a prompt may have."""

    def __init__(self, chat_format: ChatFormat, tokenizer: Tokenizer, limit_tokens: int) -> None:
        self._format = chat_format
        self._tokenizer = tokenizer
        self._limit = limit_tokens

    def prepare(self, system: str, state: ConversationState, texts: Sequence[str]) -> PreparedPrompt:
        history = messages(state, texts)
        built = build_prompt(
            self._format, self._tokenizer, system, history, state.prompt, self._limit, new=max(1, len(texts))
        )
        ids = b"".join(token.to_bytes(4, "little") for token in built.prompt.ids)
        return PreparedPrompt(built.prompt, built.dropped, built, blake2b(ids, digest_size=16).hexdigest())

    def store(self, prepared: PreparedPrompt, sampled: tuple[int, ...]) -> StoredPrompt | None:
        return after_reply(prepared.built, sampled) if prepared.built else None


class MessagePrompter:
    """For engines that render their own template."""

    def prepare(self, system: str, state: ConversationState, texts: Sequence[str]) -> PreparedPrompt:
        prompt = PromptMessages(
            messages=(*([ChatMessage(Role.SYSTEM, system)] if system else []), *one_a_role(messages(state, texts)))
        )
        digest = blake2b(orjson.dumps(prompt), digest_size=16).hexdigest()
        return PreparedPrompt(prompt, 0, None, digest)

    def store(self, prepared: PreparedPrompt, sampled: tuple[int, ...]) -> StoredPrompt | None:  # noqa: ARG002
        return None


def messages(state: ConversationState, texts: Sequence[str]) -> tuple[ChatMessage, ...]:
    """The history and the new texts. A human agent's words take the assistant's role, never the system's."""
    history = tuple(ChatMessage(_ROLES[line.speaker], line.text) for line in state.history)
    return (*history, *(ChatMessage(Role.USER, text) for text in texts or ("",)))
