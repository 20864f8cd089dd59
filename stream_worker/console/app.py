"""The pages, by their addresses. One event loop runs it and owns the view.

Every page is whole without a script; with one, the parts that change ask for
themselves again when a server-sent event names them.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Protocol
from urllib.parse import parse_qs, urlencode

import orjson
from anyio import to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from stream_worker import __version__
from stream_worker.console import formats, pages
from stream_worker.console.access import SESSION_COOKIE, Access, Guard, Role
from stream_worker.console.board import LETTERS, LIST, of_conversation
from stream_worker.console.changes import Change, event_of
from stream_worker.console.conversation import Conversation
from stream_worker.console.dashboards import Dashboard, PrometheusAway, Span, draw
from stream_worker.console.feed import GROUP, View, now_ms
from stream_worker.console.golden import golden
from stream_worker.console.letters import Return
from stream_worker.console.redrive import Desk
from stream_worker.console.reference import channels
from stream_worker.errors import StreamWorkerError
from stream_worker.kafka.event_sender import Place
from stream_worker.kafka.letters import Fate
from stream_worker.outcome import Outcome
from stream_worker.settings import Settings
from stream_worker.settings.loader import Resolved
from stream_worker.settings.source import DEFAULT

_MAX_FORM_BYTES = 128 * 1024
_STREAM_PING_S = 15
_SPANS_S = (900, 3_600, 6 * 3_600, 24 * 3_600)
_HOUR_MS = 3_600_000
_READ_ONLY = PlainTextResponse("The console is read-only: start it with --allow-changes.", 403)


class Sender(Protocol):
    """Writes events; `EventSender` does."""

    def send(self, conversation: str, event: Mapping[str, object]) -> Place: ...


@dataclass(slots=True)
class Console:
    """The handlers. `sender` and `desk` are None where nothing may be changed; `trace_url` has `{trace_id}` in it."""

    resolved: Resolved
    view: View
    access: Access
    sender: Sender | None
    who: str
    desk: Desk | None = None
    trace_url: str | None = None
    dashboards: list[Dashboard] = field(default_factory=list)
    prometheus: str | None = None
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

    @property
    def settings(self) -> Settings:
        return self.resolved.settings

    def app(self) -> Starlette:
        static = StaticFiles(directory=str(files("stream_worker.console") / "static"))
        return Starlette(
            routes=[
                Route("/", self.overview),
                Route("/conversations", self.conversations),
                Route("/conversation", self.conversation),
                Route("/conversation.yaml", self.golden_test),
                Route("/change", self.change, methods=["POST"]),
                Route("/try", self.try_it),
                Route("/letters", self.letters),
                Route("/letters/redrive", self.redrive_preview),
                Route("/letters/redrive", self.redrive, methods=["POST"]),
                Route("/group", self.group),
                Route("/dashboards", self.dashboard),
                Route("/dashboards/data", self.dashboard_data),
                Route("/settings", self.settings_page),
                Route("/contracts", self.contracts),
                Route("/stream", self.stream),
                Route("/healthz", self.health),
                Route("/sign-in", self.sign_in, methods=["GET", "POST"]),
                Mount("/static", static),
            ],
            middleware=[Middleware(Guard, access=self.access)],
        )

    async def overview(self, request: Request) -> Response:
        now = now_ms()
        tiles = self.view.board.pace.tiles(now)
        values = {
            "tiles": tiles,
            "letters": self.view.board.letters.since(now - _HOUR_MS),
            "has_vitals": any(each.vitals for each in self.view.group.members) if self.view.group else True,
            "watch": [GROUP, LIST, LETTERS],
        }
        return self._page(request, "overview", values)

    async def conversations(self, request: Request) -> Response:
        query = request.query_params
        wanted = pages.Filter(
            **{name: query.get(name, "") for name in ("q", "intent", "outcome", "language", "holder")},
            masks=self._masks(request),
        )
        start = int(start) if (start := query.get("start", "0")).isdigit() else 0
        found = pages.listing(self.view.board, wanted, start)
        given = {name: value for name, value in query.items() if name != "start" and value}
        more = None if found.next_start is None else f"/conversations?{urlencode({**given, 'start': found.next_start})}"
        values = {
            "wanted": wanted,
            "listing": found,
            "more": more,
            "start": start,
            "outcomes": list(Outcome),
            "watch": [LIST],
        }
        return self._page(request, "conversations", values)

    async def conversation(self, request: Request) -> Response:
        key = request.query_params.get("id", "")
        found = self.view.board.conversations.get(key)
        if found is None:
            return self._missing(request, f"Nothing of the conversation {key!r} lies in the window that is kept.")
        return self._conversation(request, "conversation", found)

    async def try_it(self, request: Request) -> Response:
        """A conversation of its own; its first message makes it."""
        key = request.query_params.get("id", "")
        if not key:
            return RedirectResponse(f"/try?id=try-{now_ms():x}", 303)
        found = self.view.board.conversations.get(key) or Conversation(key)
        return self._conversation(request, "try", found)

    def _conversation(self, request: Request, name: str, found: Conversation) -> Response:
        values = {
            "conversation": found,
            "entries": list(pages.entries(found, masks=self._masks(request))),
            "trace_url": self.trace_url,
            "change": Change,
            "watch": [of_conversation(found.key)],
        }
        return self._page(request, name, values)

    async def golden_test(self, request: Request) -> Response:
        key = request.query_params.get("id", "")
        found = self.view.board.conversations.get(key)
        if found is None:
            return PlainTextResponse("Nothing of this conversation lies in the window that is kept.", 404)
        if self._masks(request):
            return PlainTextResponse("A conversation is saved only by who may read it.", 403)
        name = "".join(char if char.isalnum() or char in "-_" else "-" for char in key) or "conversation"
        headers = {"Content-Disposition": f'attachment; filename="{name}.yaml"'}
        return Response(golden(key, pages.golden_steps(found)), media_type="application/yaml", headers=headers)

    async def change(self, request: Request) -> Response:
        """Writes an event. The page shows what came of it as it shows everything: when it is in the topics."""
        form = await _form(request)
        if (refusal := self._refused(request, form)) is not None or self.sender is None:
            return refusal or _READ_ONLY
        key, back = form.get("id", ""), form.get("back", "")
        tenant, _, conversation = key.rpartition("/") if self.settings.admission.tenants else ("", "", key)
        try:
            what = Change(form.get("change", ""))
            event = event_of(what, conversation, tenant=tenant, text=form.get("text", ""), who=self.who)
            place = await to_thread.run_sync(self.sender.send, key, event)
        except ValueError as error:
            return PlainTextResponse(str(error), 422)
        except StreamWorkerError as error:
            return PlainTextResponse(str(error), 503)
        if request.headers.get("Accept") == "application/json":
            return JSONResponse({"written": str(place)})
        return RedirectResponse(back if back.startswith("/") and not back.startswith("//") else "/", 303)

    async def letters(self, request: Request) -> Response:
        query = request.query_params
        letters, reason, worker = self.view.board.letters, query.get("reason", ""), query.get("worker", "")
        values = {
            "groups": letters.groups(),
            "reason": reason,
            "worker": worker,
            "letters": letters.newest(reason, worker),
            "going": letters.going_back(reason, worker),
            "opened": letters.find(query.get("id", "")),
            "sent": int(sent) if (sent := query.get("sent", "")).isdigit() else None,
            "watch": [LETTERS],
        }
        return self._page(request, "letters", values)

    async def redrive_preview(self, request: Request) -> Response:
        """How many letters would be sent back, before they are: one, or those of a filter."""
        query = request.query_params
        letters, reason, worker = self.view.board.letters, query.get("reason", ""), query.get("worker", "")
        one = letters.find(query.get("id", ""))
        if one is not None:
            going = Return(() if one.is_cut else (one,), before=int(one.fate is not Fate.OPEN), cut=int(one.is_cut))
        else:
            going = letters.going_back(reason, worker)
        values: dict[str, Any] = {
            "going": going,
            "one": one,
            "reason": reason,
            "worker": worker,
            "who": self.who,
            "watch": [],
        }
        return self._page(request, "redrive", values)

    async def redrive(self, request: Request) -> Response:
        """Sends back exactly what was shown, less what somebody else has sent back meanwhile."""
        form = await _form(request)
        if (refusal := self._refused(request, form)) is not None or self.desk is None:
            return refusal or _READ_ONLY
        desk, places, again = self.desk, frozenset(form.get("places", "").split()), form.get("again") == "yes"
        if not places:
            return PlainTextResponse("There is no letter to send back.", 422)
        try:
            sent = await to_thread.run_sync(lambda: desk.send_back(places, by=self.who, again=again))
        except StreamWorkerError as error:
            return PlainTextResponse(str(error), 503)
        return RedirectResponse(f"/letters?{urlencode({'reason': form.get('reason', ''), 'sent': sent})}", 303)

    async def group(self, request: Request) -> Response:
        return self._page(request, "group", {"watch": [GROUP]})

    async def dashboard(self, request: Request) -> Response:
        chosen = self._dashboard(request)
        span = int(text) if (text := request.query_params.get("span", "")).isdigit() else _SPANS_S[0]
        values = {"dashboards": self.dashboards, "chosen": chosen, "span": span, "spans": _SPANS_S, "watch": []}
        return self._page(request, "dashboards", values)

    async def dashboard_data(self, request: Request) -> Response:
        chosen, query = self._dashboard(request), request.query_params
        panel = chosen.panel(int(query["panel"])) if chosen and query.get("panel", "").isdigit() else None
        if panel is None or self.prometheus is None or not query.get("span", "").isdigit():
            return PlainTextResponse("There is no such panel, or no --prometheus.", 404)
        end = now_ms() / 1_000
        span = Span(end - min(int(query["span"]), 7 * 86_400), end)
        try:
            return JSONResponse(await to_thread.run_sync(draw, self.prometheus, panel, span))
        except PrometheusAway as error:
            return PlainTextResponse(str(error), 502)

    def _dashboard(self, request: Request) -> Dashboard | None:
        uid = request.query_params.get("uid", "")
        return next(
            (each for each in self.dashboards if each.uid == uid), self.dashboards[0] if self.dashboards else None
        )

    async def settings_page(self, request: Request) -> Response:
        rows = [(name, _shown(value), str(source), source == DEFAULT) for name, value, source in self.resolved.values()]
        return self._page(request, "settings", {"rows": rows, "watch": []})

    async def contracts(self, request: Request) -> Response:
        return self._page(request, "contracts", {"channels": channels(self.settings), "watch": []})

    async def stream(self, request: Request) -> Response:
        """Server-sent events of what `watch` names: `changed`, `delta`, or `reset` where something was missed."""
        watched = frozenset(request.query_params.getlist("watch"))
        last_id = request.headers.get("Last-Event-ID") or request.query_params.get("after")
        hub, masks = self.view.hub, self._masks(request)

        async def events() -> AsyncIterator[ServerSentEvent]:
            # An id at once, so that a browser that is cut off before anything happens knows where it was.
            if last_id is None:
                yield ServerSentEvent(data="{}", event="hello", id=hub.id_of(None))
            async for notice in hub.follow(watched, last_id):
                number = hub.id_of(notice)
                # A preview is text, piece by piece: nothing that could be masked as a whole.
                if notice is None:
                    yield ServerSentEvent(data="{}", event="reset", id=number)
                elif notice.delta is not None and not masks:
                    yield ServerSentEvent(data=orjson.dumps(notice.delta).decode(), event="delta", id=number)
                else:
                    names = orjson.dumps(sorted(notice.names)).decode()
                    yield ServerSentEvent(data=names, event="changed", id=number)

        return EventSourceResponse(events(), ping=_STREAM_PING_S)

    async def health(self, _: Request) -> Response:
        """For probes: 200 while the topics are read."""
        trouble = self.view.trouble
        return JSONResponse({"reads": trouble is None}, 200 if trouble is None else 503)

    async def sign_in(self, request: Request) -> Response:
        if request.method == "GET":
            return self._page(request, "sign_in", {"refused": False, "watch": []})
        session = self.access.sign_in((await _form(request)).get("token", ""))
        if session is None:
            # So that guessing takes its time.
            await asyncio.sleep(1)
            return self._page(request, "sign_in", {"refused": True, "watch": []}, 401)
        response = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        response.set_cookie(SESSION_COOKIE, session, httponly=True, samesite="strict", secure=secure)
        return response

    def _masks(self, request: Request) -> bool:
        """Whether personal data is masked for who asks: also for who may not look at all, and signs in."""
        return self.access.role(request) is not Role.FULL

    def _refused(self, request: Request, form: Mapping[str, str]) -> Response | None:
        """Why a change is not made, if it is not."""
        if not self.access.is_ours(form.get("csrf", "")):
            return PlainTextResponse("This form is not of this page: load it again.", 403)
        if self._masks(request):
            return PlainTextResponse("Who sees personal data masked may change nothing.", 403)
        return None

    def _missing(self, request: Request, sentence: str) -> Response:
        return self._page(request, "missing", {"sentence": sentence, "watch": []}, 404)

    def _page(self, request: Request, name: str, values: Mapping[str, Any], status: int = 200) -> Response:
        """The page, or where a part of it asks for itself again, that part alone."""
        common = {
            "name": name,
            "here": f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path,
            "application": self.settings.application_id,
            "version": __version__,
            "csrf": self.access.csrf,
            "masks": self._masks(request),
            "may_change": self.sender is not None and not self._masks(request),
            "may_redrive": self.desk is not None and not self._masks(request),
            "view": self.view,
            "now": now_ms(),
            "stream_id": self.view.hub.id_of(None),
            "has_prometheus": self.prometheus is not None,
        }
        part = "HX-Request" in request.headers
        template = self._templates.get_template(f"{name}.html")
        context = template.new_context({**common, **values})
        if part and "live" in template.blocks:
            return HTMLResponse("".join(template.blocks["live"](context)), status)
        return HTMLResponse(template.render({**common, **values}), status)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small form."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM_BYTES:
            return {}
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _shown(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
