"""Texts of a bot file: templates in a sandbox, one for each language that has one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jinja2 import Template as CompiledTemplate

from stream_worker.errors import BadEvent, Code
from stream_worker.outcome import DeadLetterReason

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Template:
    """A text with `{{ slot }}` places, rendered in a sandbox. A slot that is not filled renders as nothing."""

    source: str
    compiled: CompiledTemplate | None
    """None where the source has no places: most have none, and rendering is then free."""

    def render(self, values: Values) -> str:
        """Raises BadEvent where these values make it fail: a template is a small program, and may do anything."""
        if self.compiled is None:
            return self.source
        try:
            text = self.compiled.render(values)
            text.encode()  # half a character, which a template can write, no record can hold
        except Exception as error:
            message = f"a template of the bot file cannot be rendered ({type(error).__name__}): {self.source!r}"
            raise BadEvent(Code.BOT_TEMPLATE_FAILED, message, DeadLetterReason.TEMPLATE_FAILED) from error
        return text


@dataclass(frozen=True, slots=True)
class Phrase:
    """What the bot says: `default`, or the template of the user's language."""

    default: Template
    by_language: Mapping[str, Template] = field(default_factory=dict)

    @property
    def templates(self) -> tuple[Template, ...]:
        return (self.default, *self.by_language.values())

    def render(self, language: str, values: Values) -> str:
        return self.by_language.get(language, self.default).render(values)
