"""What OpenTelemetry's SDK is set up with: whose spans these are, which ids they get, where they go.

All of it is said by OpenTelemetry's own variables (`OTEL_*`), which the SDK reads; here stand the defaults, and what
the SDK leaves to whoever sets it up.
"""

import os
from collections.abc import Callable

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

from stream_worker import __version__
from stream_worker.errors import Code, Misconfigured
from stream_worker.settings import Settings

_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP = "http/protobuf"


class PlannedIds(IdGenerator):
    """Gives the ids that were planned for the next span; random ones where none were."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self.trace_id: int | None = None
        self.span_id: int | None = None

    def generate_trace_id(self) -> int:
        planned, self.trace_id = self.trace_id, None
        return self._random.generate_trace_id() if planned is None else planned

    def generate_span_id(self) -> int:
        planned, self.span_id = self.span_id, None
        return self._random.generate_span_id() if planned is None else planned


def provider(settings: Settings, ids: IdGenerator, exporter: SpanExporter | None) -> TracerProvider:
    """Batches spans for the `exporter`, or where that is None for the one of the variables. Raises Misconfigured."""
    made = TracerProvider(id_generator=ids, resource=_resource(settings), shutdown_on_exit=False)
    exporter = exporter or _exporter()
    if exporter is not None:
        made.add_span_processor(BatchSpanProcessor(exporter))
    return made


def _resource(settings: Settings) -> Resource:
    """What the variables say wins over ours."""
    ours = {"service.name": settings.application_id, "service.version": __version__}
    if settings.instance is not None:
        ours["service.instance.id"] = settings.instance
    return Resource.create(ours | dict(OTELResourceDetector().detect().attributes))


def _exporter() -> SpanExporter | None:
    """The one that OTEL_TRACES_EXPORTER names: the SDK reads that only under its own launcher."""
    name = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    made = _EXPORTERS.get(name)
    if made is None:
        raise Misconfigured(
            Code.CONFIG_INVALID_VALUE, f"OTEL_TRACES_EXPORTER is {name!r}; it may be one of {', '.join(_EXPORTERS)}"
        )
    return made()


def _otlp() -> SpanExporter:
    protocol = next((said for name in _PROTOCOLS if (said := os.environ.get(name))), _HTTP)
    if protocol != _HTTP:
        raise Misconfigured(
            Code.CONFIG_INVALID_VALUE,
            f"spans are sent by {_HTTP}, not by {protocol!r}: unset OTEL_EXPORTER_OTLP_PROTOCOL and give the "
            "collector's HTTP port (4318) in OTEL_EXPORTER_OTLP_ENDPOINT",
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


_EXPORTERS: dict[str, Callable[[], SpanExporter | None]] = {
    "otlp": _otlp,
    "console": ConsoleSpanExporter,
    "none": lambda: None,
}
