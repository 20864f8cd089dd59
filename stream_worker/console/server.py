"""Starts and ends the console: one event loop, two threads that read Kafka."""

import asyncio
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from stream_worker.console.access import Access, Role, is_loopback
from stream_worker.console.app import Console
from stream_worker.console.board import Board
from stream_worker.console.dashboards import Dashboard, read_dashboards
from stream_worker.console.feed import Feed, View
from stream_worker.console.hub import Hub
from stream_worker.console.redrive import KafkaDesk
from stream_worker.console.rehearsal import KafkaRehearsal
from stream_worker.errors import Code, Misconfigured
from stream_worker.kafka.event_sender import EventSender
from stream_worker.settings.loader import Resolved

_LEAST_TOKEN_CHARS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the console is run. `span_s` and `most_records` of each partition bound what is read at the start."""

    host: str = "127.0.0.1"
    port: int = 8_080
    allow_changes: bool = False
    token_file: Path | None = None
    masked_token_file: Path | None = None
    masks: bool = False
    """Personal data is masked for everybody."""
    who: str = "console"
    prometheus: str | None = None
    workers: tuple[str, ...] = ()
    trace_url: str | None = None
    dashboards: Path | None = None
    rehearses: bool = False
    """Turns may be run again here, which loads the model into this process."""
    span_s: float = 3_600.0
    most_records: int = 2_000


def serve(resolved: Resolved, options: Options, announce: Callable[[str], None]) -> None:
    """Until SIGTERM or Ctrl-C. Raises Misconfigured for what a person must change."""
    access = _access(options)
    dashboards = _dashboards(options)
    listening = _listen(options)
    port = listening.getsockname()[1]
    view = View(Board(tenants=resolved.settings.admission.tenants), Hub(secrets.token_hex(4)))
    console = Console(
        resolved=resolved,
        view=view,
        access=access,
        sender=EventSender(resolved.settings) if options.allow_changes else None,
        desk=KafkaDesk(resolved.settings) if options.allow_changes else None,
        rehearsal=KafkaRehearsal(resolved.settings, may_run=options.rehearses),
        trace_url=_trace_url(options.trace_url),
        who=options.who,
        dashboards=dashboards,
        prometheus=options.prometheus,
    )
    app = console.app()
    configuration = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    server = _Server(configuration, view.hub)
    host = f"[{options.host}]" if ":" in options.host else options.host
    announce(f"http://{host}:{port}")
    asyncio.run(_run(server, listening, resolved, view, options))


async def _run(
    server: uvicorn.Server, listening: socket.socket, resolved: Resolved, view: View, options: Options
) -> None:
    feed = Feed(
        resolved.settings,
        view,
        asyncio.get_running_loop(),
        span_s=options.span_s,
        most_records=options.most_records,
        workers=options.workers,
        prometheus=options.prometheus,
    )
    feed.start()
    try:
        await server.serve(sockets=[listening])
    finally:
        feed.stop()


class _Server(uvicorn.Server):
    """Ends the streams first: they would never end by themselves."""

    def __init__(self, configuration: uvicorn.Config, hub: Hub) -> None:
        super().__init__(configuration)
        self._hub = hub

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """A signal ends it in order; the process then ends with 0, not by the signal."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.close()
        await super().shutdown(sockets)


def _access(options: Options) -> Access:
    everybody = Role.MASKED if options.masks else Role.FULL
    if options.token_file is None:
        if options.masked_token_file is not None:
            raise Misconfigured(
                Code.CONFIG_INVALID_VALUE, "--masked-token-file is for a second token, beside that of --token-file"
            )
        if not is_loopback(options.host):
            raise Misconfigured(
                Code.CONFIG_INVALID_VALUE,
                f"the console shows conversations, so it listens on {options.host} only with --token-file",
            )
        return Access(None, everybody=everybody)
    token = _token(options.token_file)
    if options.masks:
        return Access(secrets.token_hex(32), token)
    return Access(token, None if options.masked_token_file is None else _token(options.masked_token_file))


def _token(file: Path) -> str:
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(
            Code.CONFIG_UNREADABLE, f"the token file {file} cannot be read ({type(error).__name__})"
        ) from error
    if len(token) < _LEAST_TOKEN_CHARS:
        raise Misconfigured(
            Code.CONFIG_INVALID_VALUE,
            f"the token in {file} is too short: give it at least {_LEAST_TOKEN_CHARS} characters, "
            "such as `openssl rand -hex 32` writes",
        )
    return token


def _trace_url(url: str | None) -> str | None:
    if url is not None and ("{trace_id}" not in url or not url.startswith(("http://", "https://"))):
        raise Misconfigured(
            Code.CONFIG_INVALID_VALUE, "--trace-url is an http(s) address with {trace_id} where the trace's id goes"
        )
    return url


def _dashboards(options: Options) -> list[Dashboard]:
    if options.dashboards is None:
        return []
    try:
        return read_dashboards(options.dashboards)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Misconfigured(
            Code.CONFIG_UNREADABLE, f"{options.dashboards} holds a file that is no dashboard ({type(error).__name__})"
        ) from error


def _listen(options: Options) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((options.host, options.port))
        # Who is told the address may come at once.
        listening.listen()
    except OSError as error:
        listening.close()
        raise Misconfigured(
            Code.CONFIG_INVALID_VALUE,
            f"cannot listen on {options.host} port {options.port} ({error.strerror}): choose another --port, "
            "0 for a free one",
        ) from error
    return listening
