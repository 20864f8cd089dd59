"""What watches the worker: its port, its metrics' names, and where traces go."""

import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from stream_worker.doctor.finding import Finding, Group, Says
from stream_worker.observability.metric_table import PREFIX, TABLE
from stream_worker.settings import Settings
from stream_worker.settings.urls import without_credentials

_SAYS = Says(Group.WATCHING)
_ANSWER_S = 2.0
_TRACES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchingFacts:
    """`taken` is whether somebody has the port; `exported` are the names of metrics there, None where it is no worker.

    `collector` is the address where traces go, empty without one; `collector_answers` whether anybody listens there.
    """

    port: int
    taken: bool
    exported: frozenset[str] | None
    collector: str
    collector_answers: bool


def gather(settings: Settings) -> WatchingFacts:
    port = settings.observability.port
    collector = next((os.environ[name] for name in _TRACES if os.environ.get(name)), "")
    taken = port != 0 and _listens("127.0.0.1", port)
    return WatchingFacts(
        port=port,
        taken=taken,
        exported=_exported(port) if taken else None,
        collector=collector,
        collector_answers=_answers(collector) if collector else False,
    )


def judge(facts: WatchingFacts) -> Iterator[Finding]:
    if not facts.taken:
        yield _SAYS.fine("port", f"port {facts.port} is free")
    elif facts.exported is None:
        yield _SAYS.error(
            "port",
            f"port {facts.port} is taken by another program",
            "The worker stops at its start.",
            "set observability.port to another one, or to 0 for a free one",
        )
    else:
        yield _SAYS.fine("port", f"a worker answers on port {facts.port}")
        yield _names(facts.exported)
    if not facts.collector:
        yield _SAYS.fine("traces", "no traces are sent: OTEL_EXPORTER_OTLP_ENDPOINT is not set")
    elif facts.collector_answers:
        yield _SAYS.fine("traces", f"a collector answers at {without_credentials(facts.collector)}")
    else:
        yield _SAYS.error(
            "traces",
            f"nobody answers at {without_credentials(facts.collector)}",
            "Traces are lost. Answers are not affected.",
            "start the collector, or set OTEL_EXPORTER_OTLP_ENDPOINT to where it is",
        )


def _names(exported: frozenset[str]) -> Finding:
    missing = sorted({f"{PREFIX}_{name}".removesuffix("_total") for name in TABLE} - exported)
    if missing:
        return _SAYS.warning(
            "metrics",
            f"the worker does not export {', '.join(missing[:3])}{' and others' if len(missing) > 3 else ''}",
            "Panels and alerts of this version ask for them: they show nothing.",
            "run dashboards, rules and workers of one version",
        )
    return _SAYS.fine("metrics", "the worker exports every metric that dashboards and alerts of this version ask for")


def _exported(port: int) -> frozenset[str] | None:
    """Names of metric families, counters without `_total`; None where no worker answers."""
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=accept)
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:  # noqa: S310 - a fixed scheme
            lines = answer.read().decode(errors="replace").splitlines()
    except (OSError, urllib.error.URLError, ValueError):
        return None
    names = frozenset(line.split()[2] for line in lines if line.startswith("# TYPE ") and len(line.split()) > 2)
    return names if any(name.startswith(PREFIX) for name in names) else None


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        return _listens(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    except ValueError:
        return False


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_ANSWER_S):
            return True
    except OSError:
        return False
