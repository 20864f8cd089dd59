"""What is to be done about a turn, before anything is done: a plan, and the calls that it needs. Pure."""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from stream_worker.bot.bot import Bot, HttpCall, IntentRule
from stream_worker.bot.phrase import Phrase
from stream_worker.conversation.dialogue import Dialogue
from stream_worker.stages.reading import Heard, Reading, UsedSlot


class CallDraft(Struct, frozen=True):
    """A read over HTTP that the plan needs, with its templates rendered."""

    call: HttpCall
    url: str
    parameters: dict[str, str]


class Plan(Struct, frozen=True, kw_only=True):
    """`text` is the reply where it needs no rule: a question, or the end of one. `suffix` comes back to a form."""

    name: str
    heard: Heard
    dialogue: Dialogue
    intent: str | None = None
    rule: IntentRule | None = None
    slots: tuple[UsedSlot, ...] = ()
    values: Mapping[str, object]
    text: str | None = None
    suffix: str = ""
    handoff: bool = False
    given_back: bool = False
    """Whether a human had the conversation and was not heard of for too long."""
    calls: tuple[CallDraft, ...] = ()


class Situation(Struct, frozen=True):
    """A message as it was read, and where the dialogue stood before it: what a plan is made of."""

    bot: Bot
    heard: Heard
    reading: Reading
    dialogue: Dialogue

    def rendered(self, phrase: Phrase, values: Mapping[str, object] = MappingProxyType({})) -> str:
        """The phrase in the language of the message."""
        return phrase.render(self.heard.language, values)

    def says(self, name: str, phrase: Phrase, dialogue: Dialogue) -> Plan:
        """A plan that is nothing but a text."""
        return Plan(name=name, heard=self.heard, dialogue=dialogue, values={}, text=self.rendered(phrase))
