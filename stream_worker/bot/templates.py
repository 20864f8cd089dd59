"""Compiles the templates of a bot file, and tries each of them before anybody is answered by it."""

from collections.abc import Iterable, Sequence

from jinja2 import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stream_worker.bot.document import Document, Place
from stream_worker.bot.phrase import Template
from stream_worker.errors import BadEvent, Misconfigured

_SANDBOX = ImmutableSandboxedEnvironment(autoescape=False)  # chat text, not HTML


class Compiler:
    def __init__(self, document: Document) -> None:
        self._document = document

    def template(self, source: str, place: Place) -> Template:
        """Raises Misconfigured for what is no template."""
        if "{" not in source:
            return Template(source, None)
        try:
            return Template(source, _SANDBOX.from_string(source))
        except TemplateSyntaxError as error:
            raise self._document.complaint(place, f"the template is invalid: {error.message}") from error

    def try_all(self, templates: Iterable[Template], slots: Sequence[str], place: Place) -> None:
        """Renders each without any slot and with all of them: both happen in any conversation. Raises Misconfigured."""
        for template in templates:
            for values in ({}, dict.fromkeys(slots, "value")):
                self._try(template, values, place)

    def _try(self, template: Template, values: dict[str, str], place: Place) -> None:
        try:
            template.render(values)
        except BadEvent as error:
            when = "every slot filled" if values else "no slot filled"
            refusal: Misconfigured = self._document.complaint(place, f"with {when}: {error.detail}: {error.__cause__}")
            raise refusal from error
