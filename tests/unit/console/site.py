"""A console without a server and a broker."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.types import Message

from stream_worker.console.access import Access
from stream_worker.console.app import Console
from stream_worker.console.board import Board
from stream_worker.console.feed import View
from stream_worker.console.hub import Hub
from stream_worker.console.prompt import Again
from stream_worker.console.rehearsal import Found
from stream_worker.contracts.analysis import Analysis
from stream_worker.errors import StreamWorkerError
from stream_worker.kafka.event_sender import Place
from stream_worker.kafka.letters import Edit
from stream_worker.settings.loader import resolve

TOKEN = "0123456789abcdef"


class Sender:
    """Keeps what would be written."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Mapping[str, object]]] = []

    def send(self, conversation: str, event: Mapping[str, object]) -> Place:
        self.sent.append((conversation, event))
        return Place("chat.events", 0, 7)


class Desk:
    """Keeps what would be sent back."""

    def __init__(self) -> None:
        self.sent: list[tuple[frozenset[str], str, bool]] = []
        self.edited: list[tuple[str, Edit, str, bool]] = []

    def send_back(self, places: frozenset[str], *, by: str, again: bool) -> int:
        self.sent.append((places, by, again))
        return len(places)

    def send_edited(self, place: str, edit: Edit, *, by: str, again: bool) -> int:
        self.edited.append((place, edit, by, again))
        return 1


class Stage:
    """Knows one prompt, and runs it again."""

    def __init__(self) -> None:
        self.may_run = True
        self.found: Found | None = None
        self.again_: Again | None = None
        self.trouble: StreamWorkerError | None = None
        self.ran = 0

    def find(self, key: str, analysis: Analysis) -> Found | None:  # the protocol's
        if self.trouble is not None:
            raise self.trouble
        return self.found

    def again(self, key: str, analysis: Analysis) -> Again | None:  # the protocol's
        self.ran += 1
        return self.again_


class Site:
    """A console without a server and a broker."""

    def __init__(self, *, token: str | None = None, masked: str | None = None, changes: bool = True) -> None:
        self.sender, self.desk, self.stage = Sender(), Desk(), Stage()
        self.access = Access(token, masked)
        self.board = Board()
        self.view = View(self.board, Hub("run"))
        console = Console(
            resolved=resolve(None, {}, {}),
            view=self.view,
            access=self.access,
            sender=self.sender if changes else None,
            desk=self.desk if changes else None,
            trace_url="http://traces.example/{trace_id}",
            who="kim",
            rehearsal=self.stage,
        )
        self.app = console.app()

    def ask(
        self, path: str, *, host: str = "127.0.0.1:8080", form: Mapping[str, str] | None = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of an answer."""
        path, _, query = path.partition("?")
        sent: list[Message] = []
        raw = [(b"host", host.encode()), *((n.replace("_", "-").encode(), v.encode()) for n, v in headers.items())]
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET" if form is None else "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": raw,
            "server": ("127.0.0.1", 8080),
            "client": ("127.0.0.1", 1),
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": urlencode(form or {}).encode(), "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        answer = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], answer, b"".join(each.get("body", b"") for each in sent[1:]).decode()
