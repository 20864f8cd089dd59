"""The bot as data: which intents lead to which answers. Frozen; read from `bot.yaml` by the loader."""

from dataclasses import dataclass, field
from enum import StrEnum

from jinja2 import Template as CompiledTemplate

from stream_worker.errors import BadEvent, Code
from stream_worker.outcome import DeadLetterReason
from stream_worker.tokens import Sampling
from stream_worker.turn_taking import TurnTaking


class ReplyWhen(StrEnum):
    """Which messages the bot answers, in rooms where people talk to each other, too."""

    ALWAYS = "always"
    ADDRESSED = "addressed"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Template:
    """A text with `{{ slot }}` places, rendered in a sandbox. A slot that is not filled renders as nothing."""

    source: str
    compiled: CompiledTemplate | None
    """None where the source has no places: most have none, and rendering is then free."""

    def render(self, values: dict[str, str]) -> str:
        """Raises BadEvent where these values make it fail: a template is a small program, and may do anything."""
        if self.compiled is None:
            return self.source
        try:
            return self.compiled.render(values)
        except Exception as error:
            message = f"a template of the bot file cannot be rendered ({type(error).__name__}): {self.source!r}"
            raise BadEvent(Code.BOT_TEMPLATE_FAILED, message, DeadLetterReason.TEMPLATE_FAILED) from error


@dataclass(frozen=True, slots=True)
class ModelReply:
    """The language model answers; in JSON where `json_schema`, as JSON, describes it."""

    json_schema: str | None = None


@dataclass(frozen=True, slots=True)
class TemplateReply:
    template: Template


@dataclass(frozen=True, slots=True)
class Emit:
    """A command that goes to the actions topic with the reply."""

    command: str
    arguments: dict[str, Template]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentRule:
    """What an intent leads to. `keeps_intent`: the next message may build on this one."""

    reply: ModelReply | TemplateReply
    slots: tuple[str, ...] = ()
    emit: tuple[Emit, ...] = ()
    handoff: bool = False
    keeps_intent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bot:
    """One bot. `version` is a hash of its file, unless the file names one."""

    name: str
    version: str
    languages: tuple[str, ...]
    system: str
    understanding: str | None
    """Folder of the trained heads; None for a bot without intents."""
    intents: dict[str, IntentRule]
    fills_slots: frozenset[str]
    """Intents that only fill slots of the active one ("What about Shanghai?")."""
    fallback: IntentRule
    error_reply: str
    refusals: tuple[str, ...] = ()
    """A reply that holds one of these texts is replaced by `refusal_reply`."""
    refusal_reply: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    max_messages: int = 64
    """How many messages of history are kept."""
    turn_taking: TurnTaking | None = None
    """None leaves it to the settings."""
    reply_when: ReplyWhen = ReplyWhen.ALWAYS
    names: tuple[str, ...] = ()
    """Names and ids by which a room addresses it."""

    @property
    def needs_model(self) -> bool:
        """Whether any rule asks the language model."""
        return any(isinstance(rule.reply, ModelReply) for rule in (self.fallback, *self.intents.values()))
