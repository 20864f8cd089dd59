"""Who has a conversation, the bot or a human, and what is told of its changing hands. Pure."""

from stream_worker.bot.bot import Bot
from stream_worker.contracts.decode import Arrival
from stream_worker.contracts.event import Message, SenderRole
from stream_worker.conversation.state import ConversationState, Holder, Line, Speaker

TAKEN_OVER = "A human colleague has taken this conversation over and writes here now."
GIVEN_BACK = "The human colleague has given this conversation back to you. What was said before still counts."


def has_human(bot: Bot | None, state: ConversationState, now_ms: int) -> bool:
    """Whether a human has it, and was heard of within the bot's timeout."""
    if state.holder is not Holder.HUMAN:
        return False
    timeout_s = bot.handoff.timeout_s if bot else None
    return timeout_s is None or now_ms - state.held_at <= timeout_s * 1000


def takes_over(bot: Bot | None, arrival: Arrival) -> bool:
    """Whether an agent has the conversation by writing in it."""
    event = arrival.event
    is_agents = isinstance(event, Message) and event.sender.role is SenderRole.AGENT
    return is_agents and bot is not None and bot.handoff.agent_message_takes_over


def note(text: str, at: int) -> Line:
    """A line that no edit or deletion can name."""
    return Line(Speaker.NOTE, text, "", at)
