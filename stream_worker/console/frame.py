"""The frame of every page: who asks, what they may see and do, and how a template becomes an answer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qs

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from stream_worker import __version__
from stream_worker.console import formats
from stream_worker.console.access import Access, Role
from stream_worker.console.feed import View, now_ms
from stream_worker.errors import StreamWorkerError
from stream_worker.settings.loader import Resolved

#: Of a form as it is sent, which may be three times the bytes of what was typed.
_MAX_FORM_BYTES = 256 * 1024

Tool = TypeVar("Tool")


@dataclass(slots=True)
class Frame:
    """`may_change`: whether the console was started so that events may be written."""

    resolved: Resolved
    view: View
    access: Access
    may_change: bool
    has_prometheus: bool
    _templates: Environment = field(init=False)

    def __post_init__(self) -> None:
        self._templates = Environment(
            loader=PackageLoader("stream_worker.console"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(formats.FILTERS)

    def masks(self, request: Request) -> bool:
        """Whether personal data is masked for who asks: also for who may not look at all, and signs in."""
        return self.access.role(request) is not Role.FULL

    def refused(self, request: Request, form: Mapping[str, str]) -> Response | None:
        """Why a form is not followed, if it is not."""
        if not self.access.is_ours(form.get("csrf", "")):
            return PlainTextResponse("This form is not of this page: load it again.", 403)
        if self.masks(request):
            return PlainTextResponse("Who sees personal data masked may change nothing.", 403)
        return None

    async def change(
        self,
        request: Request,
        tool: Tool | None,
        follow: Callable[[Request, Mapping[str, str], Tool], Awaitable[Response]],
    ) -> Response:
        """Has a form of a page followed with what changes things, and says why not where it is not.

        `tool` is None where nothing may be changed.
        """
        form = await read_form(request)
        if (refusal := self.refused(request, form)) is not None:
            return refusal
        if tool is None:
            return PlainTextResponse("The console is read-only: start it with --allow-changes.", 403)
        try:
            return await follow(request, form, tool)
        except StreamWorkerError as error:
            return PlainTextResponse(str(error), 503)

    def file(self, request: Request, name: str, text: str) -> Response:
        """A file of what was said, to be kept."""
        if self.masks(request):
            return PlainTextResponse("A conversation is saved only by who may read it.", 403)
        plain = "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "-" for char in name)
        headers = {"Content-Disposition": f'attachment; filename="{plain}"'}
        return Response(text, media_type="application/yaml", headers=headers)

    def missing(self, request: Request, sentence: str) -> Response:
        return self.page(request, "missing", {"sentence": sentence, "watch": []}, 404)

    def page(self, request: Request, name: str, values: Mapping[str, Any], status: int = 200) -> Response:
        """The page, or where a part of it asks for itself again, that part alone."""
        common = {
            "name": name,
            "here": f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path,
            "application": self.resolved.settings.application_id,
            "version": __version__,
            "csrf": self.access.csrf,
            "masks": self.masks(request),
            "may_change": self.may_change and not self.masks(request),
            "view": self.view,
            "now": now_ms(),
            "stream_id": self.view.hub.id_of(None),
            "has_prometheus": self.has_prometheus,
        }
        part = "HX-Request" in request.headers
        template = self._templates.get_template(f"{name}.html")
        context = template.new_context({**common, **values})
        if part and "live" in template.blocks:
            return HTMLResponse("".join(template.blocks["live"](context)), status)
        return HTMLResponse(template.render({**common, **values}), status)


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a small form."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM_BYTES:
            return {}
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
