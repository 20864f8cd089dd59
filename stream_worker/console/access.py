"""Who may look, and what a browser may do with the pages.

Without a token the console answers only requests that name a loopback host:
another site cannot reach it by a name of its own that leads here. Forms carry
a token that other sites cannot read. Nothing is loaded from anywhere else.
A second token may let people in who see personal data masked, and change nothing.
"""

import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSION_COOKIE = "stream_worker_console"
#: A probe brings no token; what it is told is whether the topics are read.
_OPEN_PATHS = ("/static/", "/sign-in", "/readyz")
_MAX_SESSIONS = 1_000

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Role(StrEnum):
    FULL = "full"
    MASKED = "masked"
    """Sees personal data masked, and may change nothing."""


@dataclass(slots=True)
class Access:
    """`token` is None where everybody on this machine may look, as `everybody` may.

    `masked_token` lets in those who are to see less; it comes only beside `token`.
    """

    token: str | None
    masked_token: str | None = None
    everybody: Role = Role.FULL
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    _sessions: dict[str, Role] = field(default_factory=dict)

    def sign_in(self, token: str) -> str | None:
        """A new session's secret, where the token is right."""
        role = self._role_of(token)
        if role is None:
            return None
        session = secrets.token_urlsafe(32)
        self._sessions[session] = role
        while len(self._sessions) > _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return session

    def role(self, request: Request) -> Role | None:
        """What who asks may see; None who may not look at all."""
        if self.token is None:
            return self.everybody
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return self._role_of(bearer) or self._sessions.get(request.cookies.get(SESSION_COOKIE, ""))

    def _role_of(self, token: str) -> Role | None:
        for role, known in ((Role.FULL, self.token), (Role.MASKED, self.masked_token)):
            if known and secrets.compare_digest(token.encode(), known.encode()):
                return role
        return None

    def is_ours(self, given: str) -> bool:
        """Whether a form was made by a page of ours."""
        return secrets.compare_digest(given.encode(), self.csrf.encode())


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Refuses who may not look, and adds the headers that every answer has."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if not request.url.path.startswith("/static/"):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        refusal = self._refusal(request)
        await (self._app if refusal is None else refusal)(scope, receive, with_headers)

    def _refusal(self, request: Request) -> ASGIApp | None:
        if self._access.token is None and not is_loopback(request.url.hostname or ""):
            return PlainTextResponse("Open the console by 127.0.0.1 or localhost, or start it with --token-file.", 421)
        if request.url.path.startswith(_OPEN_PATHS) or self._access.role(request) is not None:
            return None
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            return RedirectResponse("/sign-in", 303)
        return PlainTextResponse("Sign in first, or send the token as a bearer token.", 401)
