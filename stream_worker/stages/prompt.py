"""Builds a conversation's prompt as a list of token ids that is only ever appended to.

Pure. What always holds: between two cuts of the history, the prompt of a turn
and the ids sampled after it are how the next turn's prompt begins, so that
whatever an engine keeps of them can be used again. Markup and texts are
encoded apart from each other, so no text can turn into markup.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from stream_worker.errors import BadEvent, Code
from stream_worker.outcome import DeadLetterReason
from stream_worker.stages.chat_format import ChatFormat, Tokenizer
from stream_worker.tokens import ChatMessage, PromptIds, Role, StoredPrompt

__all__ = ["BuiltPrompt", "ChatFormat", "Tokenizer", "after_reply", "build_prompt", "one_a_role"]

_JOIN = "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPrompt:
    """A prompt, and how many of the oldest messages it leaves out."""

    prompt: PromptIds
    dropped: int
    covers: int
    """Leading messages of the history without the dropped ones that prompt and reply will stand for."""
    hash: str
    end_ids: frozenset[int]


def build_prompt(
    chat_format: ChatFormat,
    tokenizer: Tokenizer,
    system: str,
    history: Sequence[ChatMessage],
    stored: StoredPrompt | None,
    limit_tokens: int,
    *,
    new: int = 1,
) -> BuiltPrompt:
    """The prompt for `history`, whose last `new` messages are the user's new ones (an empty one for a turn that
    nobody's text began).

    `stored` ids are appended to where they still stand for the history's
    beginning; otherwise all is encoded from the text. Raises BadEvent when the
    system text and the new messages alone are longer than `limit_tokens`.
    """
    writer = _Writer(chat_format, tokenizer, system)
    if stored and _stands(stored, writer.hash, history):
        ids = (*stored.ids, *writer.rest(history[stored.covers :]))
        if len(ids) <= limit_tokens:
            return _built(writer, ids, history, dropped=0, known=len(stored.ids))
    ids = writer.whole(history)
    if len(ids) <= limit_tokens:
        return _built(writer, ids, history, dropped=0, known=0)
    return _cut(writer, history, limit_tokens, new)


def after_reply(built: BuiltPrompt, sampled: Sequence[int]) -> StoredPrompt:
    """What is kept for the next turn: the prompt and the ids of its reply.

    The end token is left off: the template's glue begins with its own, and a
    reply that was cut short has none.
    """
    reply = sampled[:-1] if sampled and sampled[-1] in built.end_ids else sampled
    return StoredPrompt(hash=built.hash, ids=(*built.prompt.ids, *reply), covers=built.covers)


def first_that_fits(history: Sequence[ChatMessage], old: int, room: int, size: Callable[[str], int]) -> int:
    """Where the history may begin so that it fits into `room`: the messages from `old` on are kept in any case."""
    first, taken = old, sum(size(message.text) for message in history[old:])
    while first > 0 and (taken := taken + size(history[first - 1].text)) <= room:
        first -= 1
    return _after_replies(history, first)


def _after_replies(history: Sequence[ChatMessage], first: int) -> int:
    """A prompt that begins with a reply would need a user's message that nobody wrote."""
    while history[first].role is Role.ASSISTANT:
        first += 1
    return first


def one_a_role(history: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """The same with neighbours of one role as one message, for engines that render their own template."""
    return tuple(ChatMessage(each.role, _JOIN.join(filter(None, each.texts))) for each in _joined(history))


@dataclass(slots=True)
class _Joined:
    """Neighbouring messages of one role: one message to a template."""

    role: Role
    texts: list[str]


class _Writer:
    """Writes turns as ids, for one format and system text."""

    def __init__(self, chat_format: ChatFormat, tokenizer: Tokenizer, system: str) -> None:
        self._format = chat_format
        self._tokenizer = tokenizer
        self._system = system
        self.hash = blake2b(f"{chat_format.hash}\0{system}".encode("utf-8", "replace"), digest_size=16).hexdigest()
        self.end_ids = chat_format.end_ids
        self.opening = self._opening()

    def _opening(self) -> tuple[int, ...]:
        """What comes before the first user's text: the same for every conversation of a bot."""
        pieces, markup = self._format, self._tokenizer.encode_markup
        system = pieces.tidy(self._system)
        if not system:
            return markup(pieces.before_user)
        if pieces.before_system is None:
            return (*markup(pieces.before_user), *self.text(system + pieces.system_to_user, tidy=False))
        return (*markup(pieces.before_system), *self.text(system), *markup(pieces.system_to_user))

    def text(self, text: str, *, tidy: bool = True) -> tuple[int, ...]:
        return self._tokenizer.encode_text(self._format.tidy(text) if tidy else text)

    def turns(self, messages: Sequence[_Joined]) -> tuple[int, ...]:
        """Alternating messages, from a user's text to where the next reply begins.

        The texts of one message are encoded one by one, so that one more at its end changes no id before it.
        """
        ids: list[int] = []
        for message in messages:
            tidy = [text for text in map(self._format.tidy, message.texts) if text]
            for number, text in enumerate(tidy):
                first = text if message.role is Role.USER else self._before_reply(text)
                ids += self.text(_JOIN + text if number else first, tidy=False)
            glue = self._format.user_to_reply if message.role is Role.USER else self._format.reply_to_user
            ids += self._tokenizer.encode_markup(glue)
        return tuple(ids)

    def _before_reply(self, text: str) -> str:
        """The text of a reply with the white space that a model would have sampled before it."""
        lead = self._format.before_reply
        return text if text.startswith(lead) else lead + text

    def rest(self, messages: Sequence[ChatMessage]) -> tuple[int, ...]:
        """What comes after a reply: whatever joins it, such as a human colleague's words, then the turns."""
        users = next(number for number, message in enumerate(messages) if message.role is Role.USER)
        ids: list[int] = []
        for text in filter(None, (self._format.tidy(message.text) for message in messages[:users])):
            ids += self.text(_JOIN + text, tidy=False)
        ids += self._tokenizer.encode_markup(self._format.reply_to_user)
        return (*ids, *self.turns(_joined(messages[users:])))

    def whole(self, history: Sequence[ChatMessage]) -> tuple[int, ...]:
        return (*self.opening, *self.turns(_joined(history)))


def _stands(stored: StoredPrompt, expected_hash: str, history: Sequence[ChatMessage]) -> bool:
    """Whether the stored ids are still how the prompt begins: after a reply, with a user's message to come."""
    covers = stored.covers
    return (
        stored.hash == expected_hash
        and 0 < covers < len(history)
        and history[covers - 1].role is Role.ASSISTANT
        and history[-1].role is Role.USER
    )


def _joined(messages: Sequence[ChatMessage]) -> list[_Joined]:
    """Neighbours of one role as one message, beginning and ending with a user's, as templates demand."""
    joined: list[_Joined] = []
    for message in messages:
        if joined and joined[-1].role is message.role:
            joined[-1].texts.append(message.text)
            continue
        if not joined and message.role is Role.ASSISTANT:
            joined.append(_Joined(Role.USER, []))
        joined.append(_Joined(message.role, [message.text]))
    return joined


def _cut(writer: _Writer, history: Sequence[ChatMessage], limit_tokens: int, new: int) -> BuiltPrompt:
    """Leaves out the oldest messages down to half the limit, so that the next cut is many turns away."""
    room = limit_tokens // 2 - len(writer.opening)
    last = len(history) - new
    first = first_that_fits(history, last, room, lambda text: len(writer.text(text)))
    while True:
        ids = writer.whole(history[first:])
        if len(ids) <= limit_tokens:
            return _built(writer, ids, history, dropped=first, known=0)
        if first >= last:
            raise BadEvent(
                Code.PROMPT_TOO_LONG,
                f"the system text and the new messages are {len(ids)} tokens, the prompt may have {limit_tokens}; "
                "raise engine.max_context_tokens, or lower admission.max_text_chars or the bot's max_new_tokens",
                DeadLetterReason.PROMPT_TOO_LONG,
            )
        first = _after_replies(history, first + 1)


def _built(
    writer: _Writer, ids: Sequence[int], history: Sequence[ChatMessage], *, dropped: int, known: int
) -> BuiltPrompt:
    # A turn that no text began leaves only its reply in the history.
    lines = len(history) - dropped - (0 if history[-1].text else 1)
    return BuiltPrompt(
        prompt=PromptIds(ids=tuple(ids), common=len(writer.opening), known=known),
        dropped=dropped,
        covers=lines + 1,
        hash=writer.hash,
        end_ids=writer.end_ids,
    )
