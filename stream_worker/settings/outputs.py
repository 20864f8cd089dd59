"""What is written beside the replies."""

from typing import Literal

from pydantic import Field

from stream_worker.settings.base import Section


class OutputSettings(Section):
    prefix: str = ""
    """Put before every output topic's name."""

    deltas: Literal["off", "checked", "raw"] = "raw"
    """Previews while a reply is generated: none, whole checked sentences, or text as it comes."""

    delta_interval_ms: int = Field(default=80, ge=0, le=10_000)
    """Text is gathered this long before it leaves as one delta."""

    analysis: bool = True
    """Whether each turn's analysis is published."""
