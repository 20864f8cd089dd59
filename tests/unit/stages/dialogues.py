"""A dialogue without a worker: each message with what the understanding would find in it."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from stream_worker.bot.bot import Bot
from stream_worker.bot.loader import load_bot
from stream_worker.conversation.state import EMPTY, Bounds, ConversationState, Holder, apply
from stream_worker.orders import Encoded, IntentScore, Sentiment, SlotSpan, TurnRef
from stream_worker.settings import Settings
from stream_worker.stages.dialogue import Decision, Heard, TextAnswer, conclude, plan

REF = TurnRef(0, 1, "turn", 1)


def load(folder: Path, text: str) -> Bot:
    file = folder / "bot.yaml"
    file.write_text(text, encoding="utf-8")
    return load_bot(file, Settings())


class Talk:
    """Who talks to a bot; what was decided last is `last`."""

    def __init__(self, bot: Bot, language: str = "en") -> None:
        self.bot = bot
        self.language = language
        self.state: ConversationState = EMPTY
        self.now_ms = 1_000_000
        self.last: Decision | None = None

    def say(
        self,
        text: str,
        intent: str = "unknown",
        *,
        scope: bool = True,
        score: float = 0.9,
        second: tuple[str, float] = ("other", 0.05),
        mood: tuple[str, float] = ("neutral", 1.0),
        sender: str = "u-1",
        roles: Mapping[str, str] = MappingProxyType({}),
        **slots: str | tuple[str, ...],
    ) -> str:
        """The reply's text; empty for the model's. A slot's value must stand in the text."""
        spans = []
        for name, values in slots.items():
            for value in (values,) if isinstance(values, str) else values:
                start = text.index(value)
                spans.append(SlotSpan(name, value, start, start + len(value), 0.9, roles.get(value)))
        understanding = Encoded(
            ref=REF,
            intents=(IntentScore(intent, score), IntentScore(*second)),
            in_scope=scope,
            scope=0.9 if scope else 0.1,
            slots=tuple(spans),
            batch_size=1,
            seconds=0.0,
            sentiment=Sentiment(*mood),
        )
        heard = Heard(
            text=text, language=self.language, understanding=understanding, sender_id=sender, now_ms=self.now_ms
        )
        self.last = decision = conclude(plan(self.bot, self.state, heard), {})
        self.state = apply(self.state, decision.changes, Bounds(max_messages=10, dedup_window=0))
        return decision.answer.text if isinstance(decision.answer, TextAnswer) else ""

    @property
    def slots(self) -> dict[str, str]:
        assert self.last is not None
        return {slot.name: slot.value for slot in self.last.slots}

    @property
    def carried(self) -> set[str]:
        assert self.last is not None
        return {slot.name for slot in self.last.slots if slot.carried}

    @property
    def intent(self) -> str | None:
        assert self.last is not None
        return self.last.intent

    @property
    def commands(self) -> list[tuple[str, dict[str, object]]]:
        assert self.last is not None
        return [(command.name, command.arguments) for command in self.last.commands]

    @property
    def is_human(self) -> bool:
        return self.state.holder is Holder.HUMAN
