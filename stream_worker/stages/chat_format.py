"""A chat template as pieces of text, so that a prompt can be appended to without rendering it anew.

`derive_format` renders the model's template with sentinels in place of the
texts and cuts the result at them. What always holds of a `ChatFormat`: the
prompt of turn n is, text for text, how the prompt of turn n+1 begins. A
template for which that is not so is refused here, before any event is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from stream_worker.errors import Code, Misconfigured
from stream_worker.tokens import ChatMessage, Role

Render = Callable[[Sequence[ChatMessage]], str]
"""Renders messages up to where the model's reply begins. Raises TemplateRefuses for roles it does not take."""


class TemplateRefuses(Exception):
    """The template does not take these messages."""


class Tokenizer(Protocol):
    """Text to ids. Pure: the same text has the same ids under the same `hash`."""

    @property
    def hash(self) -> str: ...

    @property
    def end_ids(self) -> frozenset[int]:
        """Ids that end a reply."""
        ...

    def encode_markup(self, text: str) -> tuple[int, ...]:
        """Ids of a piece of the template: its special tokens are parsed."""
        ...

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Ids of what somebody wrote: a special token's name in it is mere text."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFormat:
    """The pieces between the texts. `before_system` is None where the template takes no system role."""

    before_system: str | None
    system_to_user: str
    before_user: str
    user_to_reply: str
    before_reply: str
    """White space that begins every reply: a model samples it by itself, so it is written only where a text is."""
    reply_to_user: str
    strips: bool
    """Whether the template strips white space around texts."""
    end_ids: frozenset[int]
    hash: str
    """Names the tokenizer and the template."""

    def tidy(self, text: str) -> str:
        return text.strip() if self.strips else text


#: What stands between a system text and the first user text where the template takes no system role.
_SYSTEM_JOINED = "\n\n"

# Sentinels in letters that no template writes, and without white space that it may strip.
_SYSTEM = "⟦SYSTEM⟧"
_USER = ("⟦USER1⟧", "⟦USER2⟧", "⟦USER3⟧")
_REPLY = ("⟦REPLY1⟧", "⟦REPLY2⟧")


def derive_format(render: Render, tokenizer: Tokenizer) -> ChatFormat:
    """The pieces of a template, verified to be append-only. Raises Misconfigured with what differs."""
    try:
        before_user, user_to_reply, before_reply, reply_to_user = _cut_turns(render, ())
    except TemplateRefuses as refusal:
        raise Misconfigured(
            Code.MODEL_UNSUITABLE,
            f"the chat template does not take turns of user and assistant: {refusal}. Choose another model.",
        ) from refusal
    try:
        opening, *_ = _cut_turns(render, (ChatMessage(Role.SYSTEM, _SYSTEM),))
        before_system, found, system_to_user = opening.partition(_SYSTEM)
        takes_system = bool(found)
    except (TemplateRefuses, Misconfigured):
        # Some write it before the last user's text, which is another one every turn.
        takes_system = False
    if not takes_system:
        before_system, system_to_user = "", _SYSTEM_JOINED
    strips = _strips(render)
    # A closing token that no text can write ends a reply, whether or not the model's files say so.
    closing = tokenizer.encode_markup(reply_to_user)[:1]
    closing_ids = frozenset(closing) if tokenizer.encode_text(reply_to_user)[:1] != closing else frozenset()
    system = (str(takes_system), before_system, system_to_user)
    pieces = (*system, before_user, user_to_reply, before_reply, reply_to_user, str(strips))
    digest = blake2b("\0".join((tokenizer.hash, *pieces)).encode(), digest_size=16)
    return ChatFormat(
        before_system=before_system if takes_system else None,
        system_to_user=system_to_user,
        before_user=before_user,
        user_to_reply=user_to_reply,
        before_reply=before_reply,
        reply_to_user=reply_to_user,
        strips=strips,
        end_ids=tokenizer.end_ids | closing_ids,
        hash=digest.hexdigest(),
    )


def _cut_turns(render: Render, opening: tuple[ChatMessage, ...]) -> tuple[str, str, str, str]:
    """(before the first user text, from a user text to the reply, before the reply, from it to the next user text)."""
    messages = [
        *opening,
        ChatMessage(Role.USER, _USER[0]),
        ChatMessage(Role.ASSISTANT, _REPLY[0]),
        ChatMessage(Role.USER, _USER[1]),
        ChatMessage(Role.ASSISTANT, _REPLY[1]),
        ChatMessage(Role.USER, _USER[2]),
    ]
    one, two, three = (render(messages[: len(opening) + count]) for count in (1, 3, 5))
    before, user_to_reply = _around(one, _USER[0])
    rest = two[len(one) :]
    before_reply = rest[: len(rest) - len(rest.lstrip())]
    reply_to_user, after = _around(rest.removeprefix(before_reply + _REPLY[0]), _USER[1])
    _require(two, one + before_reply + _REPLY[0] + reply_to_user + _USER[1] + user_to_reply)
    _require(after, user_to_reply)
    _require(three, two + before_reply + _REPLY[1] + reply_to_user + _USER[2] + user_to_reply)
    return before, user_to_reply, before_reply, reply_to_user


def _around(rendered: str, sentinel: str) -> tuple[str, str]:
    before, found, after = rendered.partition(sentinel)
    if not found or sentinel in after:
        raise Misconfigured(
            Code.MODEL_UNSUITABLE,
            f"the chat template writes a user's text {rendered.count(sentinel)} times in {rendered[:400]!r}; "
            "it must write each text once, in order. Choose another model, or give it a plainer template.",
        )
    return before, after


def _require(rendered: str, expected: str) -> None:
    if rendered == expected:
        return
    at = next((i for i, (a, b) in enumerate(zip(rendered, expected, strict=False)) if a != b), len(expected))
    raise Misconfigured(
        Code.MODEL_UNSUITABLE,
        f"the chat template is not append-only: a later turn renders {rendered[at : at + 60]!r} where "
        f"{expected[at : at + 60]!r} stood (character {at}). Choose another model, or give it a plainer template.",
    )


def _strips(render: Render) -> bool:
    """Whether white space around a text is lost. A template that strips does so for every role."""
    return f" {_USER[0]} " not in render([ChatMessage(Role.USER, f" {_USER[0]} ")])
