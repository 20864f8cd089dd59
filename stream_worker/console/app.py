"""The pages, by their addresses. One event loop runs it and owns the view.

Every page is whole without a script; with one, the parts that change ask for
themselves again when a server-sent event names them.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Protocol
from urllib.parse import urlencode

import orjson
from anyio import to_thread
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from stream_worker.console import pages
from stream_worker.console.access import SESSION_COOKIE, Access, Guard
from stream_worker.console.board import LETTERS, LIST, of_conversation
from stream_worker.console.changes import Change, event_of
from stream_worker.console.conversation import Conversation
from stream_worker.console.dashboards import Dashboard, PrometheusAway, Span, draw
from stream_worker.console.feed import GROUP, View, now_ms
from stream_worker.console.frame import Frame, read_form
from stream_worker.console.golden import golden
from stream_worker.console.label_pages import LabelPages
from stream_worker.console.letter_pages import LetterPages
from stream_worker.console.redrive import Desk
from stream_worker.console.reference import channels
from stream_worker.console.rehearsal import Rehearsal
from stream_worker.console.turn_pages import TurnPages
from stream_worker.kafka.event_sender import Place
from stream_worker.outcome import Outcome
from stream_worker.settings import Settings
from stream_worker.settings.loader import Resolved
from stream_worker.settings.source import DEFAULT

_STREAM_PING_S = 15
_SPANS_S = (900, 3_600, 6 * 3_600, 24 * 3_600)
_HOUR_MS = 3_600_000


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
    rehearsal: Rehearsal
    desk: Desk | None = None
    trace_url: str | None = None
    dashboards: list[Dashboard] = field(default_factory=list)
    prometheus: str | None = None
    _frame: Frame = field(init=False)

    def __post_init__(self) -> None:
        self._frame = Frame(
            self.resolved,
            self.view,
            self.access,
            may_change=self.sender is not None,
            has_prometheus=self.prometheus is not None,
        )

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
                *LetterPages(self._frame, self.desk, self.who).routes(),
                *LabelPages(self._frame).routes(),
                *TurnPages(self._frame, self.rehearsal).routes(),
                Route("/group", self.group),
                Route("/dashboards", self.dashboard),
                Route("/dashboards/data", self.dashboard_data),
                Route("/settings", self.settings_page),
                Route("/contracts", self.contracts),
                Route("/stream", self.stream),
                Route("/readyz", self.ready),
                Route("/sign-in", self.sign_in, methods=["GET", "POST"]),
                Mount("/static", static),
            ],
            middleware=[Middleware(Guard, access=self.access)],
        )

    async def overview(self, request: Request) -> Response:
        now = now_ms()
        tiles = self.view.board.pace.tiles(now)
        vitals = [each.vitals for each in self.view.group.members if each.vitals] if self.view.group else []
        values = {
            "tiles": tiles,
            "turns": pages.at_work(vitals),
            "letters": self.view.board.letters.since(now - _HOUR_MS),
            "has_vitals": bool(vitals) or self.view.group is None,
            "watch": [GROUP, LIST, LETTERS],
        }
        return self._frame.page(request, "overview", values)

    async def conversations(self, request: Request) -> Response:
        query = request.query_params
        wanted = pages.Filter(
            **{name: query.get(name, "") for name in ("q", "intent", "outcome", "language", "holder")},
            masks=self._frame.masks(request),
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
        return self._frame.page(request, "conversations", values)

    async def conversation(self, request: Request) -> Response:
        key = request.query_params.get("id", "")
        found = self.view.board.conversations.get(key)
        if found is None:
            return self._frame.missing(request, f"Nothing of the conversation {key!r} lies in the window that is kept.")
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
            "entries": list(
                pages.entries(found, self.view.board.letters.by_original(), masks=self._frame.masks(request))
            ),
            "trace_url": self.trace_url,
            "change": Change,
            "watch": [of_conversation(found.key)],
        }
        return self._frame.page(request, name, values)

    async def golden_test(self, request: Request) -> Response:
        found = self.view.board.conversations.get(request.query_params.get("id", ""))
        if found is None:
            return PlainTextResponse("Nothing of this conversation lies in the window that is kept.", 404)
        return self._frame.file(request, f"{found.key}.yaml", golden(found.key, pages.golden_steps(found)))

    async def change(self, request: Request) -> Response:
        """Writes an event. The page shows what came of it as it shows everything: when it is in the topics."""
        return await self._frame.change(request, self.sender, self._send)

    async def _send(self, request: Request, form: Mapping[str, str], sender: Sender) -> Response:
        key, back = form.get("id", ""), form.get("back", "")
        tenant, _, conversation = key.rpartition("/") if self.settings.admission.tenants else ("", "", key)
        try:
            what = Change(form.get("change", ""))
            event = event_of(what, conversation, tenant=tenant, text=form.get("text", ""), who=self.who)
            place = await to_thread.run_sync(sender.send, key, event)
        except ValueError as error:
            return PlainTextResponse(str(error), 422)
        if request.headers.get("Accept") == "application/json":
            return JSONResponse({"written": str(place)})
        return RedirectResponse(back if back.startswith("/") and not back.startswith("//") else "/", 303)

    async def group(self, request: Request) -> Response:
        return self._frame.page(request, "group", {"watch": [GROUP]})

    async def dashboard(self, request: Request) -> Response:
        chosen = self._dashboard(request)
        span = int(text) if (text := request.query_params.get("span", "")).isdigit() else _SPANS_S[0]
        values = {"dashboards": self.dashboards, "chosen": chosen, "span": span, "spans": _SPANS_S, "watch": []}
        return self._frame.page(request, "dashboards", values)

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
        return self._frame.page(request, "settings", {"rows": rows, "watch": []})

    async def contracts(self, request: Request) -> Response:
        return self._frame.page(request, "contracts", {"channels": channels(self.settings), "watch": []})

    async def stream(self, request: Request) -> Response:
        """Server-sent events of what `watch` names: `changed`, `delta`, or `reset` where something was missed."""
        watched = frozenset(request.query_params.getlist("watch"))
        last_id = request.headers.get("Last-Event-ID") or request.query_params.get("after")
        hub, masks = self.view.hub, self._frame.masks(request)

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

    async def ready(self, _: Request) -> Response:
        """200 while the topics are read; in the form of a worker's probes, so that `health` reads it, too."""
        trouble = self.view.trouble
        return JSONResponse({"reads": trouble is None}, 200 if trouble is None else 503)

    async def sign_in(self, request: Request) -> Response:
        if request.method == "GET":
            return self._frame.page(request, "sign_in", {"refused": False, "watch": []})
        session = self.access.sign_in((await read_form(request)).get("token", ""))
        if session is None:
            # So that guessing takes its time.
            await asyncio.sleep(1)
            return self._frame.page(request, "sign_in", {"refused": True, "watch": []}, 401)
        response = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        response.set_cookie(SESSION_COOKIE, session, httponly=True, samesite="strict", secure=secure)
        return response


def _shown(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
