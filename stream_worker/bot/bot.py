"""The bot as data: which intents lead to which answers. Frozen; read from `bot.yaml` by the loader."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from stream_worker.bot.entities import Entity
from stream_worker.bot.phrase import Phrase, Template
from stream_worker.tokens import Sampling
from stream_worker.turn_taking import TurnTaking


class ReplyWhen(StrEnum):
    """Which messages the bot answers, in rooms where people talk to each other, too."""

    ALWAYS = "always"
    ADDRESSED = "addressed"
    NEVER = "never"


class SlotKind(StrEnum):
    """What a slot's values are: by it "there" finds a place, "that day" a date, "it" a thing, and answers are read."""

    PLACE = "place"
    DATE = "date"
    TIME = "time"
    THING = "thing"
    PERSON = "person"
    NUMBER = "number"
    YES_NO = "yes_no"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class ModelReply:
    """The language model answers; in JSON where `json_schema`, as JSON, describes it."""

    json_schema: str | None = None


@dataclass(frozen=True, slots=True)
class TemplateReply:
    phrase: Phrase


@dataclass(frozen=True, slots=True)
class Slot:
    """`shared` ones are carried into another intent that has a slot of this name.

    `entity` is what the examples mark, in this `role`; None for the slot's own name, in whatever role.
    """

    kind: SlotKind = SlotKind.TEXT
    shared: bool = False
    entity: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A slot that an intent needs before anything else is done, and how it is asked for.

    An answer must match `pattern`, be one of `choices`, lie from `least` to `most`, as far as these are given; with
    `from_text` the whole message is the answer where no slot was found in it. After `tries` useless answers the bot
    gives up.
    """

    slot: str
    prompt: Phrase
    invalid: Phrase | None = None
    pattern: re.Pattern[str] | None = None
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    from_text: bool = False
    tries: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCall:
    """A read over HTTP. What it found out is called `name` in templates and prompts; `take` picks from `result`."""

    name: str
    url: Template
    parameters: Mapping[str, Template]
    headers: Mapping[str, str]
    timeout_ms: int
    retries: int
    take: Mapping[str, Template]
    error: Phrase | None
    """The reply where it fails; None is the bot's `error_reply`."""


@dataclass(frozen=True, slots=True)
class Emit:
    """A command that goes to the actions topic with the reply, where `when` renders to something."""

    command: str
    arguments: Mapping[str, Template]
    when: Template | None = None


@dataclass(frozen=True, slots=True)
class Remind:
    """A command that asks for a trigger `after_s` seconds from now."""

    trigger: str
    after_s: float
    arguments: Mapping[str, Template]


@dataclass(frozen=True, slots=True)
class Offer:
    """Values for a slot that the reply names, one a line of `values`: "the second one" is one, "yes" the only one."""

    slot: str
    values: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentRule:
    """What an intent leads to. `keeps_intent`: the next message may build on this one."""

    reply: ModelReply | TemplateReply
    label: Phrase | None = None
    slots: tuple[str, ...] = ()
    ask: tuple[Ask, ...] = ()
    calls: tuple[HttpCall, ...] = ()
    emit: tuple[Emit, ...] = ()
    remind: tuple[Remind, ...] = ()
    offers: tuple[Offer, ...] = ()
    handoff: bool = False
    keeps_intent: bool = True

    def templates(self) -> Iterator[Template]:
        """Every template that is rendered before a call has answered."""
        for ask in self.ask:
            yield from ask.prompt.templates
            yield from ask.invalid.templates if ask.invalid else ()
        for call in self.calls:
            yield from (call.url, *call.parameters.values())
            yield from call.error.templates if call.error else ()
        yield from self.label.templates if self.label else ()
        if self.calls:
            return
        yield from self.reply.phrase.templates if isinstance(self.reply, TemplateReply) else ()
        for emit in self.emit:
            yield from (*emit.arguments.values(), *((emit.when,) if emit.when else ()))
        for remind in self.remind:
            yield from remind.arguments.values()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """What a message without a known intent leads to, step by step: which of two, say it again, a human."""

    rule: IntentRule
    clarify: Phrase | None = None
    clarify_within: float = 0.25
    """How far the second best score may lie below the best for the bot to ask which is meant."""
    rephrase: Phrase | None = None
    handoff_after: int | None = None
    """So many messages in a row that were not understood, and a human gets the conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoffRules:
    """When a human gets a conversation, and when the bot takes it back."""

    text: Phrase | None = None
    """The reply where the bot gives up: after fallbacks, a form that failed, or bad moods."""
    timeout_s: float | None = None
    """The bot has it again when no human was heard of for so long."""
    complaints: int | None = None
    """So many messages in a row of a negative sentiment, and a human gets it."""
    complaint_score: float = 0.8
    agent_message_takes_over: bool = False
    """Whether an agent who writes has the conversation, without an event `handoff`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bot:
    """One bot. `version` is a hash of its file, unless the file names one."""

    name: str
    version: str
    languages: tuple[str, ...]
    system: str
    understanding: str | None
    """Folder of the trained heads; None for a bot without intents."""
    intents: Mapping[str, IntentRule]
    fills_slots: frozenset[str]
    """Intents that only fill slots of the active one ("What about Shanghai?")."""
    fallback: Fallback
    error_reply: str
    slots: Mapping[str, Slot] = field(default_factory=dict)
    entities: tuple[Entity, ...] = ()
    time_zone: str = "UTC"
    """Where its users are, for senders of whom nothing is known: an IANA name."""
    region: str | None = None
    """In which country, as ISO 3166-1; None: where most who write the message's language live."""
    triggers: Mapping[str, IntentRule] = field(default_factory=dict)
    handoff: HandoffRules = field(default_factory=HandoffRules)
    expired_reply: Phrase | None = None
    """The reply to a message that nobody waits for any more; None for none."""
    cancelled: Phrase | None = None
    """The reply to who does not want to go on with a form."""
    forget_after_s: float = 1_800.0
    """A dialogue of which nothing was heard for so long starts anew."""
    refusals: tuple[str, ...] = ()
    """A reply that holds one of these texts is replaced by `refusal_reply`."""
    refusal_reply: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    max_messages: int = 64
    """How many messages of history are kept."""
    facts_tokens: int = 512
    """How much of a prompt the results of calls may take."""
    turn_taking: TurnTaking | None = None
    """None leaves it to the settings."""
    reply_when: ReplyWhen = ReplyWhen.ALWAYS
    names: tuple[str, ...] = ()
    """Names and ids by which a room addresses it."""

    @property
    def rules(self) -> tuple[IntentRule, ...]:
        """Every rule, in no special order."""
        return (self.fallback.rule, *self.intents.values(), *self.triggers.values())

    @property
    def needs_model(self) -> bool:
        """Whether any rule asks the language model."""
        return any(isinstance(rule.reply, ModelReply) for rule in self.rules)

    @property
    def is_for_rooms(self) -> bool:
        """Whether several people talk where it listens."""
        return self.reply_when is not ReplyWhen.ALWAYS

    def slot(self, name: str) -> Slot:
        return self.slots.get(name, _PLAIN)

    def slot_of(self, entity: str, role: str | None) -> str:
        """The slot that something marked as `entity` in a message is for."""
        own = [(name, slot) for name, slot in self.slots.items() if (slot.entity or name) == entity]
        exact = next((name for name, slot in own if slot.role == role), None)
        return exact or next((name for name, slot in own if slot.role is None), entity)


_PLAIN = Slot()
