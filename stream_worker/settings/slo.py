"""What users were promised. Metrics, dashboards and alerts measure against it."""

from pydantic import Field

from stream_worker.settings.base import Section


class SloSettings(Section):
    reply_seconds: float = Field(default=10.0, gt=0, le=3_600)
    """A reply that comes within this time of its event kept the promise."""
