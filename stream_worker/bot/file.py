"""`bot.yaml` as it is written: every key with its bounds and meaning. The reference page is generated from it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from stream_worker.bot.bot import ReplyWhen, SlotKind
from stream_worker.bot.entities import EntityKind
from stream_worker.settings.engine import SamplingSettings
from stream_worker.turn_taking import OnNewMessage


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


NAME = r"^[A-Za-z0-9._/-]{1,100}$"
Name = Annotated[str, Field(pattern=NAME)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2}$")]


def _by_language(value: Any) -> Any:
    """A plain text stands for every language."""
    return {"": value} if isinstance(value, str) else value


_TEXTS_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "propertyNames": {"pattern": "^[a-z]{2}$"},
            "additionalProperties": {"type": "string"},
            "minProperties": 1,
        },
    ]
}
Texts = Annotated[
    dict[Annotated[str, Field(pattern=r"^([a-z]{2})?$")], str],
    BeforeValidator(_by_language),
    Field(min_length=1),
    WithJsonSchema(_TEXTS_SCHEMA),
]
"""A text, or one for each language: `{en: Hello, zh: 你好}`; the first one stands for the others."""


class EmitFile(_Section):
    command: Name
    """The command's name on the actions topic."""

    arguments: dict[str, str] = {}
    """Its arguments; each is a template."""

    when: str | None = None
    """A template: the command is emitted where it renders to something but blanks."""


class RemindFile(_Section):
    trigger: Name
    """The trigger that is to come; its rule stands under `triggers`."""

    after_s: Annotated[float, Field(gt=0, le=366 * 86_400)]
    """How long from now."""

    arguments: dict[str, str] = {}
    """What it is to come with; each is a template."""


class TemplateFile(_Section):
    template: Texts
    """The reply's text, or one for each language. `{{ slot }}` is a slot's value (Jinja2, in a sandbox)."""


class JsonFile(_Section):
    json_schema: str
    """A file with a JSON Schema, relative to this one: the model's reply is JSON that it describes."""


class AskFile(_Section):
    slot: str
    """The slot that is needed."""

    prompt: Texts
    """The question; a template, or one for each language."""

    invalid: Texts | None = None
    """The question after a useless answer; unset it is asked as before."""

    pattern: str | None = None
    """A regular expression that a value must match, as a whole."""

    choices: tuple[str, ...] = ()
    """The values there are. An answer may name one, or its place ("the second one")."""

    min: float | None = None
    """The least number."""

    max: float | None = None
    """The greatest number."""

    from_text: bool = False
    """Whether the whole message is the answer where the slot was not found in it."""

    tries: Annotated[int, Field(ge=1, le=10)] = 3
    """How often it is asked before the bot gives up."""


class CallFile(_Section):
    name: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,50}$")]
    """What the result is called in templates and in the prompt."""

    url: str
    """A template; its host must be one of `calls.allowed_hosts` in the settings. A read: it may be made twice."""

    parameters: dict[str, str] = {}
    """The query; each is a template, and is escaped."""

    headers: dict[str, str] = {}
    """Headers, such as a key: `${env:NAME}` is the value of an environment variable."""

    timeout_ms: Annotated[int, Field(ge=10, le=60_000)] = 5_000
    """How long all of it may take, retries included."""

    retries: Annotated[int, Field(ge=0, le=5)] = 1
    """How often it is tried again after no answer, 429 or 5xx."""

    take: dict[str, str] = {}
    """What is kept of the answer, each a template over `result`; unset all of it. An answer that one cannot be made of
    is a call that failed."""

    error: Texts | None = None
    """The reply where it fails; unset it is `error_reply`."""


class OfferFile(_Section):
    slot: str
    """The slot that the offered values are for."""

    values: str
    """A template that renders to a value a line."""


class IntentFile(_Section):
    reply: Literal["model"] | JsonFile | TemplateFile = "model"
    """Who answers: the language model, in JSON where a schema is named, or a template."""

    label: Texts | None = None
    """What a user calls it, for the question which of two was meant."""

    slots: tuple[str, ...] = ()
    """The slots this intent has; they are carried over while it stays the active one."""

    ask: tuple[AskFile, ...] = ()
    """A form: slots that are asked for, in this order, before anything else is done."""

    call: tuple[CallFile, ...] = ()
    """Reads over HTTP, made before the reply; their results enter template and prompt as data."""

    emit: tuple[EmitFile, ...] = ()
    """Commands to emit with the reply, exactly once."""

    remind: tuple[RemindFile, ...] = ()
    """Triggers to ask for; whoever keeps time sends them."""

    offer: OfferFile | tuple[OfferFile, ...] = ()
    """Values that the reply names, for one slot or several: the next message may choose by place, or accept them."""

    handoff: bool = False
    """Whether a human takes the conversation over after the reply."""

    keeps_intent: bool = True
    """Whether the next message may build on this one ("What about Shanghai?")."""


class FallbackFile(IntentFile):
    clarify: Texts | None = None
    """The question which of two intents was meant: `{{ first }}` and `{{ second }}` are their labels."""

    clarify_within: Annotated[float, Field(ge=0, le=1)] = 0.25
    """How far the second score may lie below the first for that question."""

    rephrase: Texts | None = None
    """Asks to say it in other words; unset the fallback's own reply is given."""

    handoff_after: Annotated[int, Field(ge=1, le=20)] | None = None
    """A human gets the conversation at so many messages in a row that were not understood."""


Expression = Annotated[
    dict[Annotated[str, Field(pattern=NAME)], Annotated[str, Field(min_length=1, max_length=1_000)]],
    Field(min_length=1, max_length=1),
]
"""A name and a regular expression, as RE2 has them: `{order_id: 'ORD-\\d{6}'}`."""


class SlotFile(_Section):
    kind: SlotKind = SlotKind.TEXT
    """What its values are; "there" refers to a `place`, "that day" to a `date`, "it" to a `thing`."""

    entity: str | None = None
    """What the examples mark in messages; unset it is the slot's own name."""

    role: str | None = None
    """In which role: `{entity: city, role: destination}` is where to, another slot is where from."""

    shared: bool = False
    """Whether its value is carried into another intent that has this slot, too."""


class HandoffFile(_Section):
    text: Texts | None = None
    """The reply where the bot itself gives up: after fallbacks, a form that failed, or bad moods."""

    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """The bot has the conversation again when no human was heard of for so long; looked at with the next event."""

    complaints: Annotated[int, Field(ge=1, le=20)] | None = None
    """A human gets it at so many messages in a row with a negative sentiment."""

    complaint_score: Annotated[float, Field(ge=0, le=1)] = 0.8
    """How sure of the sentiment the bot must be."""

    agent_message_takes_over: bool = False
    """Whether an agent who writes has the conversation, also without an event `handoff`."""


class TurnTakingFile(_Section):
    on_new_message: OnNewMessage = OnNewMessage.QUEUE
    """What a message does that arrives while its conversation is busy: `queue`, `merge` or `interrupt`."""

    merge_window_ms: Annotated[int, Field(ge=0, le=60_000)] = 0
    """How long a turn waits for more messages of its sender; 0 starts it at once."""

    max_hold_ms: Annotated[int, Field(ge=0, le=600_000)] = 10_000
    """From a turn's first message on, how long others may join it."""


class BotFile(_Section):
    bot: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
    """The bot's name; it stands in every record."""

    version: str | None = None
    """The bot's version in every record; unset it is a hash of the file."""

    languages: Annotated[tuple[Language, ...], Field(min_length=1)] = ("en",)
    """What its users write, in ISO 639-1, the likeliest first."""

    system: str = ""
    """What the language model is told before every conversation."""

    understanding: str | None = None
    """The folder that `nlu train` wrote, relative to this file; unset, every message is the fallback's."""

    slots: dict[str, SlotFile] = {}
    """What the slots' values are, where it matters."""

    entities: tuple[EntityKind | Expression, ...] = ()
    """What is found without examples and becomes a slot of this name: `number`, `date`, `duration`, `money`, `phone`,
    `email`, `url`, and expressions of your own, `{order_id: 'ORD-\\d{6}'}`."""

    time_zone: str = "UTC"
    """The IANA name of the users' time zone: what "tomorrow at 7" means, where an event does not say better."""

    region: Annotated[str, Field(pattern="^[A-Z]{2}$")] | None = None
    """The users' country (ISO 3166-1): whose phone numbers, dollars and dates; unset the message's language decides."""

    intents: dict[str, IntentFile] = {}
    """What each intent leads to. An intent that is trained but not listed is the fallback's."""

    fills_slots: frozenset[str] = frozenset()
    """Intents that only fill slots of the active one."""

    triggers: dict[str, IntentFile] = {}
    """What each trigger leads to; its arguments are values of the templates."""

    fallback: FallbackFile = FallbackFile()
    """What a message without a known intent leads to."""

    handoff: HandoffFile = HandoffFile()
    """When a human gets a conversation, and when the bot takes it back."""

    error_reply: str = "Sorry, I cannot answer that right now."
    """The reply to a message that could not be answered; empty for none."""

    expired_reply: Texts | None = None
    """The reply to a message that is settled as `expired`; unset, none."""

    cancelled: Texts | None = None
    """The reply to a user who breaks a form off ("never mind"); unset a plain one in English or Chinese."""

    forget_after_s: Annotated[float, Field(gt=0)] = 1_800.0
    """A dialogue of which nothing was heard for so long starts anew; looked at with the next message."""

    refusals: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """A reply of the model that holds one of these texts is replaced."""

    refusal_reply: str = "I cannot help with that."
    """What it is replaced by."""

    sampling: SamplingSettings | None = None
    """How the model samples; unset as `engine.sampling` says."""

    max_messages: Annotated[int, Field(ge=0, le=1_000)] = 64
    """How many messages of history are kept."""

    facts_tokens: Annotated[int, Field(ge=16, le=100_000)] = 512
    """How much of a prompt the results of calls may take; what is beyond is cut."""

    turn_taking: TurnTakingFile | None = None
    """How messages join; unset as `admission` says in the settings."""

    reply_when: ReplyWhen = ReplyWhen.ALWAYS
    """Which messages are answered in rooms where people talk to each other: `always`, `addressed` or `never`."""

    names: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Names and ids by which a room addresses the bot; its name if left out."""
