"""Reads `bot.yaml`: validated whole, refused with file, line and what to do."""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

from jinja2 import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError

from stream_worker.bot.bot import Bot, Emit, IntentRule, ModelReply, Template, TemplateReply
from stream_worker.errors import Code, Misconfigured
from stream_worker.settings.engine import SamplingSettings
from stream_worker.tokens import Sampling

_SANDBOX = ImmutableSandboxedEnvironment(autoescape=False)  # chat text, not HTML


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _EmitFile(_Section):
    command: Annotated[str, Field(min_length=1)]
    arguments: dict[str, str] = {}


class _TemplateFile(_Section):
    template: str


class _IntentFile(_Section):
    reply: Literal["model"] | _TemplateFile = "model"
    slots: tuple[str, ...] = ()
    emit: tuple[_EmitFile, ...] = ()
    handoff: bool = False
    keeps_intent: bool = True


class _BotFile(_Section):
    bot: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
    version: str | None = None
    languages: Annotated[tuple[str, ...], Field(min_length=1)] = ("en",)
    system: str = ""
    understanding: str | None = None
    intents: dict[str, _IntentFile] = {}
    fills_slots: frozenset[str] = frozenset()
    fallback: _IntentFile = _IntentFile()
    error_reply: str = "Sorry, I cannot answer that right now."
    refusals: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    refusal_reply: str = "I cannot help with that."
    sampling: SamplingSettings | None = None
    max_messages: Annotated[int, Field(ge=0, le=1_000)] = 64


def load_bot(path: Path, default_sampling: SamplingSettings) -> Bot:
    """The bot of a file. Raises `Misconfigured` with the position of what is wrong."""
    raw, document = _read(path)
    try:
        file = _BotFile.model_validate(document)
    except ValidationError as error:
        raise Misconfigured(Code.BOT_INVALID, "; ".join(_complaints(path, document, error))) from error
    sampling = file.sampling or default_sampling
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
        sampling=Sampling(**sampling.model_dump()),
        max_messages=file.max_messages,
    )


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


def _rule(path: Path, name: str, intent: _IntentFile) -> IntentRule:
    reply = (
        TemplateReply(_template(path, name, intent.reply.template))
        if isinstance(intent.reply, _TemplateFile)
        else ModelReply()
    )
    return IntentRule(
        reply=reply,
        slots=intent.slots,
        emit=tuple(
            Emit(emit.command, {key: _template(path, name, source) for key, source in emit.arguments.items()})
            for emit in intent.emit
        ),
        handoff=intent.handoff,
        keeps_intent=intent.keeps_intent,
    )


def _template(path: Path, name: str, source: str) -> Template:
    if "{" not in source:
        return Template(source, None)
    try:
        return Template(source, _SANDBOX.from_string(source))
    except TemplateSyntaxError as error:
        raise Misconfigured(
            Code.BOT_INVALID, f"{path}: the template of `{name}` is invalid: {error.message}"
        ) from error
