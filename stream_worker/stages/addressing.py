"""Whether a message is for the bot, in a room where people talk to each other, too. Pure."""

from stream_worker.bot.bot import Bot, ReplyWhen
from stream_worker.contracts.event import Message
from stream_worker.conversation.pending import PendingTurn, Spoken
from stream_worker.conversation.state import ConversationState, Speaker


def is_addressed(bot: Bot, state: ConversationState, pending: PendingTurn) -> bool:
    """Whether the bot is to answer this turn. One addressed message addresses the others of its turn."""
    if bot.reply_when is ReplyWhen.ALWAYS or pending.trigger is not None:
        return True
    if bot.reply_when is ReplyWhen.NEVER:
        return False
    dialogue = state.dialogues.get(pending.sender_id)
    if dialogue is not None and dialogue.question is not None:
        # The bot has asked this sender something: the next message may well be the answer.
        return True
    return any(_names(bot, said) or _answers_us(state, said) for said in pending.spoken)


def _names(bot: Bot, said: Spoken) -> bool:
    """Whether it mentions the bot, or begins with or holds `@` and one of its names."""
    event = said.arrival.event
    if isinstance(event, Message) and not set(event.mentions).isdisjoint(bot.names):
        return True
    text = said.text.casefold()
    return any(f"@{name.casefold()}" in text or text.startswith(name.casefold()) for name in bot.names)


def _answers_us(state: ConversationState, said: Spoken) -> bool:
    """Whether it is a reply to something that the bot said."""
    event = said.arrival.event
    if not isinstance(event, Message) or event.reply_to is None:
        return False
    return any(line.event_id == event.reply_to and line.speaker is Speaker.BOT for line in state.history)
