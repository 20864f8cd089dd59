"""A golden conversation as it is written: one YAML file, or several documents in one."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from stream_worker.bot.document import Document


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_STRINGS_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
Strings = Annotated[tuple[str, ...], BeforeValidator(_listed), WithJsonSchema(_STRINGS_SCHEMA)]
"""One text or several."""


class SlotFile(_Section):
    value: str
    """Its value."""

    carried: bool | None = None
    """Whether it must come from an earlier turn; either where left out."""


class SimilarFile(_Section):
    to: str
    """The text to be like."""

    at_least: Annotated[float, Field(ge=0, le=1)] = 0.8
    """How like: 1 has the same words, in any order."""


class ReplyFile(_Section):
    contains: Strings = ()
    """Texts that it must hold, whatever their case."""

    not_: Strings = Field(default=(), alias="not")
    """Texts that it must not hold."""

    equals: str | None = None
    """All of it."""

    regex: str | None = None
    """A regular expression that must be found in it."""

    max_words: Annotated[int, Field(ge=0)] | None = None
    """How many words it may have; each Chinese or Japanese character counts as one."""

    language: Annotated[str, Field(pattern="^[a-z]{2}$")] | None = None
    """What it must be written in."""

    similar: SimilarFile | None = None
    """A text that it must be like, by its words."""


class ActionFile(_Section):
    name: str
    """The command or call."""

    arguments: dict[str, Any] = {}
    """The arguments that it must have; it may have more."""


def _reply(value: Any) -> Any:
    return {"contains": value} if isinstance(value, str | list) else value


def _action(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    return [{"name": each} if isinstance(each, str) else each for each in values]


def _slots(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: {"value": str(each)} if isinstance(each, str | int) else each for name, each in value.items()}


class ExpectFile(_Section):
    intent: str | None = None
    """The intent that ruled the turn; `null` for none."""

    slots: Annotated[dict[str, SlotFile], BeforeValidator(_slots)] | None = None
    """All slots that the turn used, no more and no less."""

    action: Annotated[tuple[ActionFile, ...], BeforeValidator(_action)] = ()
    """Commands that were emitted or calls that were made."""

    no_action: bool = False
    """Nothing was emitted or called."""

    reply: Annotated[ReplyFile | None, BeforeValidator(_reply)] = None
    """What the reply must be like; a text stands for `contains`."""

    replies: Annotated[int, Field(ge=0)] | None = None
    """How many replies there were since the last `expect`."""

    decision: str | None = None
    """What the dialogue decided, as the analysis has it, such as `ask:location`."""

    handoff: bool | None = None
    """Whether a human has the conversation now."""

    silent: bool = False
    """There was no reply."""

    judge: str | None = None
    """A sentence that must be true of the reply; a model is asked, where one is given (`--judge`)."""


class EditFile(_Section):
    text: str
    """The new text."""

    of: str | None = None
    """The `id` of the edited message; the last one of the user if left out."""


class TriggerFile(_Section):
    name: str
    """Its name."""

    arguments: dict[str, Any] = {}
    """What it comes with."""


KINDS = (
    "user",
    "human",
    "edit",
    "delete",
    "wait",
    "handoff",
    "handback",
    "closed",
    "trigger",
    "expect",
)


def _edit(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


def _trigger(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class StepFile(_Section):
    """One step; what a user says one after the other is sent before the worker goes on."""

    user: str | None = None
    """A message of a user."""

    human: str | None = None
    """A message of a human agent."""

    edit: Annotated[EditFile | None, BeforeValidator(_edit)] = None
    """A message's new text."""

    delete: str | None = None
    """The `id` of a message that is taken back, or `last`."""

    wait: Annotated[float, Field(ge=0, le=10_000_000)] | None = None
    """Seconds that pass."""

    handoff: bool = False
    """A human takes the conversation over."""

    handback: bool = False
    """The human gives it back."""

    closed: bool = False
    """The conversation is over."""

    trigger: Annotated[TriggerFile | None, BeforeValidator(_trigger)] = None
    """Something that is due."""

    expect: ExpectFile | None = None
    """What must have come of the steps before."""

    id: str | None = None
    """A name for a message, for `edit` and `delete`."""

    sender: str = "user"
    """Who writes, where several do."""

    @model_validator(mode="after")
    def _is_one(self) -> "StepFile":
        given = self.kinds
        if len(given) != 1:
            raise ValueError(f"a step is one of {', '.join(KINDS)}; this one is {' and '.join(given) or 'none'}")
        return self

    @property
    def kinds(self) -> list[str]:
        return [name for name in KINDS if getattr(self, name, None) not in (None, False)]


class AnswerFile(_Section):
    """What a call gets: a result, or a failure."""

    result: Any = None
    """The decoded answer."""

    fail: str | None = None
    """Why it comes to nothing."""


def _answers(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class ConversationFile(_Section):
    conversation: str
    """Its name in reports."""

    channel: str = ""
    """Where it takes place; chooses the bot."""

    tenant: str = ""
    """Whose it is."""

    actions: dict[str, Annotated[tuple[AnswerFile, ...], BeforeValidator(_answers)]] = {}
    """What each call gets: one answer, or several in turn, of which the last stays."""

    model: Strings = ()
    """What the scripted model says, in turn; without it, a text made of the prompt's."""

    steps: Annotated[tuple[StepFile, ...], Field(min_length=1)]
    """What happens."""


class Golden:
    """A conversation and where it was read."""

    def __init__(self, document: Document, file: ConversationFile) -> None:
        self.document = document
        self.file = file

    @property
    def path(self) -> Path:
        return self.document.path

    @property
    def name(self) -> str:
        return self.file.conversation


def load_goldens(paths: list[Path]) -> list[Golden]:
    """The conversations of files, and of all `*.yml` and `*.yaml` below folders. Raises Misconfigured."""
    files = [file for path in paths for file in _files(path)]
    documents = [Document.read(file, "conversation: NAME") for file in files]
    return [Golden(document, document.validated(ConversationFile)) for document in documents]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for pattern in ("*.yml", "*.yaml") for file in path.rglob(pattern))
