"""Reads `bot.yaml`: validated whole, refused with file, line and what to do."""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal, assert_never

import orjson
from jinja2 import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError

from stream_worker.bot.bot import Bot, Emit, IntentRule, ModelReply, ReplyWhen, Template, TemplateReply
from stream_worker.bot.bots import Binding, Bots
from stream_worker.errors import BadEvent, Code, Misconfigured
from stream_worker.settings import Settings
from stream_worker.settings.engine import SamplingSettings
from stream_worker.turn_taking import OnNewMessage, TurnTaking

_SANDBOX = ImmutableSandboxedEnvironment(autoescape=False)  # chat text, not HTML


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class EmitFile(_Section):
    command: Annotated[str, Field(min_length=1)]
    """The command's name on the actions topic."""

    arguments: dict[str, str] = {}
    """Its arguments; each is a template."""


class TemplateFile(_Section):
    template: str
    """The reply's text. `{{ slot }}` is a slot's value, nothing where it is not filled (Jinja2, in a sandbox)."""


class JsonFile(_Section):
    json_schema: str
    """A file with a JSON Schema, relative to this one: the model's reply is JSON that it describes."""


class IntentFile(_Section):
    reply: Literal["model"] | JsonFile | TemplateFile = "model"
    """Who answers: the language model, in JSON where a schema is named, or a template."""

    slots: tuple[str, ...] = ()
    """The slots this intent has; they are carried over while it stays the active one."""

    emit: tuple[EmitFile, ...] = ()
    """Commands to emit with the reply, exactly once."""

    handoff: bool = False
    """Whether a human takes the conversation over after the reply."""

    keeps_intent: bool = True
    """Whether the next message may build on this one ("What about Shanghai?")."""


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

    languages: Annotated[tuple[str, ...], Field(min_length=1)] = ("en",)
    """What its users write, in ISO 639-1, the likeliest first."""

    system: str = ""
    """What the language model is told before every conversation."""

    understanding: str | None = None
    """The folder that `nlu train` wrote, relative to this file; unset, every message is the fallback's."""

    intents: dict[str, IntentFile] = {}
    """What each intent leads to. An intent that is trained but not listed is the fallback's."""

    fills_slots: frozenset[str] = frozenset()
    """Intents that only fill slots of the active one."""

    fallback: IntentFile = IntentFile()
    """What a message without a known intent leads to."""

    error_reply: str = "Sorry, I cannot answer that right now."
    """The reply to a message that could not be answered; empty for none."""

    refusals: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """A reply of the model that holds one of these texts is replaced."""

    refusal_reply: str = "I cannot help with that."
    """What it is replaced by."""

    sampling: SamplingSettings | None = None
    """How the model samples; unset as `engine.sampling` says."""

    max_messages: Annotated[int, Field(ge=0, le=1_000)] = 64
    """How many messages of history are kept."""

    turn_taking: TurnTakingFile | None = None
    """How messages join; unset as `admission` says in the settings."""

    reply_when: ReplyWhen = ReplyWhen.ALWAYS
    """Which messages are answered in rooms where people talk to each other: `always`, `addressed` or `never`."""

    names: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Names and ids by which a room addresses the bot; its name if left out."""


def load_bots(settings: Settings) -> Bots:
    """The bots of the settings. Raises Misconfigured when there is none, or a file is wrong."""
    if not settings.bots:
        raise Misconfigured(
            Code.CONFIG_INVALID_VALUE, "no bot is configured: add `bots: [{file: bot.yaml}]` to the configuration"
        )
    loaded: dict[Path, Bot] = {}
    for binding in settings.bots:
        if binding.file not in loaded:
            loaded[binding.file] = load_bot(binding.file, settings)
    names = [bot.name for bot in loaded.values()]
    if len(set(names)) != len(names):
        raise Misconfigured(Code.BOT_INVALID, f"two bot files have the same name: {', '.join(sorted(names))}")
    return Bots(tuple(Binding(each.tenant, each.channel, loaded[each.file]) for each in settings.bots))


def load_bot(path: Path, settings: Settings) -> Bot:
    """The bot of a file. Raises `Misconfigured` with the position of what is wrong."""
    raw, document = _read(path)
    try:
        file = BotFile.model_validate(document)
    except ValidationError as error:
        raise Misconfigured(Code.BOT_INVALID, "; ".join(_complaints(path, document, error))) from error
    sampling = file.sampling or settings.engine.sampling
    return Bot(
        name=file.bot,
        version=file.version or blake2b(raw, digest_size=6).hexdigest(),
        languages=file.languages,
        system=file.system.strip(),
        understanding=str((path.parent / file.understanding).resolve()) if file.understanding else None,
        intents={name: _rule(path, name, intent) for name, intent in file.intents.items()},
        fills_slots=file.fills_slots,
        fallback=_rule(path, "fallback", file.fallback),
        error_reply=file.error_reply,
        refusals=file.refusals,
        refusal_reply=file.refusal_reply,
        sampling=sampling.sampling(),
        max_messages=file.max_messages,
        turn_taking=_turn_taking(file.turn_taking, settings),
        reply_when=file.reply_when,
        names=file.names or (file.bot,),
    )


def _turn_taking(file: TurnTakingFile | None, settings: Settings) -> TurnTaking:
    admission = settings.admission
    return TurnTaking(**file.model_dump(), max_chars=admission.max_text_chars) if file else admission.turn_taking


def _read(path: Path) -> tuple[bytes, CommentedMap]:
    try:
        raw = path.read_bytes()
        document = YAML(typ="rt").load(raw)
    except OSError as error:
        raise Misconfigured(Code.BOT_UNREADABLE, f"cannot read the bot file {path}: {error.strerror}") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise Misconfigured(Code.BOT_INVALID, f"{where}: not YAML: {error.problem}") from error
    if not isinstance(document, CommentedMap):
        raise Misconfigured(Code.BOT_INVALID, f"{path}: a bot file is a mapping that begins with `bot: NAME`")
    return raw, document


def _complaints(path: Path, document: CommentedMap, error: ValidationError) -> Iterator[str]:
    for item in error.errors(include_url=False):
        line, column = _position(document, item["loc"])
        yield f"{path}:{line}:{column}: {'.'.join(str(part) for part in item['loc'])}: {item['msg']}"


def _position(document: Any, location: tuple[int | str, ...]) -> tuple[int, int]:
    """Line and column, from 1, of the deepest part of `location` that the file has."""
    line, column = 1, 1
    node = document
    for part in location:
        try:
            line, column = (number + 1 for number in node.lc.data[part][:2])
            node = node[part]
        except (KeyError, IndexError, TypeError, AttributeError):
            break
    return line, column


def _rule(path: Path, name: str, intent: IntentFile) -> IntentRule:
    rule = IntentRule(
        reply=_reply(path, name, intent.reply),
        slots=intent.slots,
        emit=tuple(
            Emit(emit.command, {key: _template(path, name, source) for key, source in emit.arguments.items()})
            for emit in intent.emit
        ),
        handoff=intent.handoff,
        keeps_intent=intent.keeps_intent,
    )
    _try(path, name, rule)
    return rule


def _reply(path: Path, name: str, reply: Literal["model"] | JsonFile | TemplateFile) -> ModelReply | TemplateReply:
    match reply:
        case "model":
            return ModelReply()
        case JsonFile():
            return ModelReply(_schema(path, name, reply.json_schema))
        case TemplateFile():
            return TemplateReply(_template(path, name, reply.template))
        case _:
            assert_never(reply)


def _schema(path: Path, name: str, file: str) -> str:
    """The schema's text. Whether the engine can hold a reply to it is known when it is used first."""
    schema = path.parent / file
    try:
        document = orjson.loads(schema.read_bytes())
    except OSError as error:
        message = f"{path}: cannot read the JSON schema of `{name}`, {schema}: {error.strerror}"
        raise Misconfigured(Code.BOT_UNREADABLE, message) from error
    except orjson.JSONDecodeError as error:
        raise Misconfigured(Code.BOT_INVALID, f"{schema}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Misconfigured(Code.BOT_INVALID, f"{schema}: a JSON schema is an object")
    return orjson.dumps(document).decode()


def _try(path: Path, name: str, rule: IntentRule) -> None:
    """Renders every template of the rule without any slot and with all of them: both happen in any conversation."""
    templates = [template for emit in rule.emit for template in emit.arguments.values()]
    templates += [rule.reply.template] if isinstance(rule.reply, TemplateReply) else []
    for template in templates:
        for values in ({}, dict.fromkeys(rule.slots, "value")):
            try:
                template.render(values)
            except BadEvent as error:
                when = "every slot filled" if values else "no slot filled"
                raise Misconfigured(
                    Code.BOT_INVALID, f"{path}: `{name}` with {when}: {error.detail}: {error.__cause__}"
                ) from error


def _template(path: Path, name: str, source: str) -> Template:
    if "{" not in source:
        return Template(source, None)
    try:
        return Template(source, _SANDBOX.from_string(source))
    except TemplateSyntaxError as error:
        raise Misconfigured(
            Code.BOT_INVALID, f"{path}: the template of `{name}` is invalid: {error.message}"
        ) from error
