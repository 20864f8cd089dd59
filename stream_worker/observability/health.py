"""Probes and `/metrics` over HTTP.

A probe reads plain values that the threads have left on the board; it never
does work, takes a lock or asks a broker, so a busy worker is not killed for
being busy. Not ready never stops the consumer: it only tells.
"""

import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from stream_worker.clock import Clock
from stream_worker.errors import Code, Misconfigured
from stream_worker.observability.metric_table import Loop

BEAT_LIMIT_S = 30.0


@dataclass(slots=True)
class HealthBoard:
    """What the threads say of themselves. Each value has one writer; readers take what stands there."""

    clock: Clock
    beats: dict[Loop, float] = field(default_factory=dict)
    """Monotonic time of each thread's last sign of life; a thread is watched from its first one."""
    engine_loaded: bool = False
    joined: bool = False
    engine_away: bool = False
    restoring_partitions: int = 0
    refused_partitions: int = 0
    stopping: bool = False

    def beat(self, loop: Loop) -> None:
        self.beats[loop] = self.clock.monotonic()

    def renew(self, loop: Loop) -> None:
        """A sign of life of a thread that is watched already; before its loop runs, it is watched by `/startupz`."""
        if loop in self.beats:
            self.beat(loop)

    def loaded(self) -> None:
        """The engine is warm: from here on the worker thread is watched."""
        self.engine_loaded = True
        self.beat(Loop.WORKER)

    def live(self) -> Mapping[str, bool]:
        """Whether each thread showed a sign of life within 30 s."""
        oldest = self.clock.monotonic() - BEAT_LIMIT_S
        return {f"{loop} thread": beat >= oldest for loop, beat in sorted(self.beats.items())}

    def started(self) -> Mapping[str, bool]:
        return {"engine loaded": self.engine_loaded}

    def ready(self) -> Mapping[str, bool]:
        """Whether what is assigned can be served. Without a partition a worker is ready: it stands by."""
        return {
            "engine loaded": self.engine_loaded,
            "engine answers": not self.engine_away,
            "joined the group": self.joined,
            "partitions restored": not self.restoring_partitions,
            "no partition refused": not self.refused_partitions,
            "not stopping": not self.stopping,
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A scraper that hangs up is not worth a line."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class HealthServer:
    """Serves `/metrics`, the probes and `/threads` on threads of its own, from `start` to `stop`."""

    def __init__(self, host: str, port: int, board: HealthBoard, registry: CollectorRegistry) -> None:
        probes = {"/livez": board.live, "/readyz": board.ready, "/startupz": board.started}

        class Handler(_Handler):
            def do_GET(self) -> None:
                self.answer(probes, registry)

        try:
            self._server = (_Server6 if ":" in host else _Server)((host, port), Handler)
        except OSError as error:
            raise Misconfigured(
                Code.CONFIG_INVALID_VALUE,
                f"cannot listen on {host} port {port} ({error.strerror}): "
                "choose another observability.host or observability.port, 0 for a free one",
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on; where 0 was asked for, the one it got."""
        return self._server.server_port

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> "HealthServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Handler(BaseHTTPRequestHandler):
    # A client that connects and says nothing must not hold a thread for ever.
    timeout = 10

    def answer(self, probes: Mapping[str, Callable[[], Mapping[str, bool]]], registry: CollectorRegistry) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._send(HTTPStatus.OK, content_type, encode(registry))
        elif path == "/threads":
            self._send(HTTPStatus.OK, "text/plain; charset=utf-8", _stacks().encode())
        elif (probe := probes.get(path)) is not None:
            checks = probe()
            status = HTTPStatus.OK if all(checks.values()) else HTTPStatus.SERVICE_UNAVAILABLE
            self._send(status, "application/json", orjson.dumps(dict(checks)))
        else:
            self._send(
                HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"/metrics /livez /readyz /startupz /threads\n"
            )

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A scrape each few seconds is not worth a line."""


def _stacks() -> str:
    """Where each thread stands: files, lines and functions, without any value."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()
    parts = [f"{names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}" for ident, frame in frames.items()]
    return "\n".join(parts)
