"""The encoder that understands messages."""

from typing import Literal

from pydantic import Field

from stream_worker.settings.base import Section


class UnderstandingSettings(Section):
    encoder: str | None = "auto"
    """`auto`: the one each bot's understanding was trained on; a folder or a Hugging Face name; null: no intents."""

    max_batch: int = Field(default=32, ge=1, le=1_024)
    """Texts in one encoder pass."""

    max_tokens: int = Field(default=256, ge=8, le=8_192)
    """Longer texts are cut to this many tokens for understanding (not for the reply)."""

    evidence: Literal["off", "gradient_x_input", "occlusion"] = "off"
    """Which words spoke for a decision, in the analysis: cheap by gradients, a pass a word by occlusion."""
