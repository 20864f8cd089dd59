"""Metrics, probes and logs."""

from typing import Literal

from pydantic import Field

from stream_worker.settings.base import Section


class ObservabilitySettings(Section):
    host: str = "0.0.0.0"
    """Address of the HTTP server for /metrics, /livez, /readyz and /startupz."""

    port: int = Field(default=9_464, ge=0, le=65_535)
    """Its port; 0 takes a free one."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged."""

    log_format: Literal["json", "console"] = "json"
    """One JSON object a line, or coloured lines for people."""
