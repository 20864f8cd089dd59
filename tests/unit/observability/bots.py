"""The bot of these tests."""

from stream_worker.bot.bot import Bot, IntentRule, ModelReply

BOT = Bot(
    name="shop",
    version="1",
    languages=("en",),
    system="",
    understanding=None,
    intents={},
    fills_slots=frozenset(),
    fallback=IntentRule(reply=ModelReply()),
    error_reply="",
)
