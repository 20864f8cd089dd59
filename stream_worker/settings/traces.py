"""Tracing. Where spans go and how many are kept is said by OpenTelemetry's own variables (`OTEL_*`)."""

from typing import Literal

from stream_worker.settings.base import Section


class TraceSettings(Section):
    enabled: bool = False
    """Whether each turn leaves a trace; needs the extra `otel`."""

    parenting: Literal["parent", "link"] = "parent"
    """Whether a turn's spans continue the trace of its event (`traceparent`), or have their own, linked to it."""
