"""Generates with vLLM in this process: its `AsyncLLM`, driven on the I/O loop.

vLLM batches, caches and schedules by itself, in a process of its own that it
starts; this file only translates. Its prefix cache is salted with the order's
cache scope, so no tenant can find another's prompts in it, not even by timing.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from vllm import SamplingParams, TokensPrompt
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMClientError
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError
from vllm.v1.metrics.loggers import StatLoggerBase

from stream_worker.errors import raised
from stream_worker.inference.engine import Capabilities, Feature, Forgetting, Takes
from stream_worker.inference.models import ModelFiles
from stream_worker.inference.reading import Decode, Reader
from stream_worker.inference.streaming import Piece, StreamFailed
from stream_worker.orders import Fault, Generate
from stream_worker.outcome import DeadLetterReason, FinishReason
from stream_worker.settings.engine import EngineSettings
from stream_worker.tokens import PromptIds, Usage


class VllmSource:
    """Implements `Source` over a loaded engine."""

    def __init__(
        self, engine: AsyncLLM, usage: "_CacheUsage", *, version: str, decode: Decode, end_ids: frozenset[int]
    ) -> None:
        self._engine = engine
        self._usage = usage
        self._decode = decode
        self._end_ids = end_ids
        self._max_context_tokens = int(engine.model_config.max_model_len)
        self.capabilities = Capabilities(
            takes=Takes.IDS,
            deterministic=False,
            # What it keeps is found again only by the same prompt under the same salt, until it is evicted.
            forgetting=Forgetting.UNREACHABLE,
            model=version,
            max_context_tokens=self._max_context_tokens,
            features=frozenset(Feature),
        )

    @property
    def kv_usage(self) -> float:
        return self._usage.ratio

    async def live(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.shut_down()

    def shut_down(self) -> None:
        """Ends vLLM's own process."""
        self._engine.shutdown(timeout=1.0)

    async def stream(self, order: Generate) -> AsyncGenerator[Piece]:
        prompt, most = self._checked(order)
        reader = Reader(self._decode, order.sampling.stop)
        tokens = TokensPrompt(prompt_token_ids=list(prompt.ids), cache_salt=order.cache_scope or "-")
        try:
            async for output in self._engine.generate(tokens, self._parameters(order, most), _name(order)):
                piece = self._piece(order, reader, output)
                yield piece
                if piece.finish_reason is not None:
                    return  # at a stop string: closing the generator aborts the request
        except EngineDeadError as error:
            raise StreamFailed(
                Fault.FATAL, f"vLLM's engine has died ({raised(error)}): see its own lines in the log"
            ) from error
        except EngineGenerateError as error:
            raise StreamFailed(Fault.EVENT, f"vLLM could not run the request ({type(error).__name__})") from error
        except (VLLMClientError, ValueError) as error:
            reason = DeadLetterReason.REFUSED_BY_ENGINE
            if order.sampling.json_schema is not None:
                reason = DeadLetterReason.SCHEMA_NOT_MET
            raise StreamFailed(Fault.EVENT, f"vLLM refuses the request ({type(error).__name__})", reason) from error

    def _checked(self, order: Generate) -> tuple[PromptIds, int]:
        """The prompt, and the longest reply that the context has room for. Raises StreamFailed."""
        prompt = order.prompt
        assert isinstance(prompt, PromptIds), "this engine takes ids"
        if not prompt.ids:
            raise StreamFailed(Fault.EVENT, "the prompt has no tokens", DeadLetterReason.INVALID_EVENT)
        if len(prompt.ids) >= self._max_context_tokens:
            message = f"the prompt has {len(prompt.ids)} tokens; prompt and reply may have {self._max_context_tokens}"
            raise StreamFailed(Fault.EVENT, message, DeadLetterReason.PROMPT_TOO_LONG)
        vocabulary = self._engine.model_config.get_vocab_size()
        if min(prompt.ids) < 0 or max(prompt.ids) >= vocabulary:
            message = f"the prompt has ids outside of the model's vocabulary of {vocabulary}"
            raise StreamFailed(Fault.EVENT, message, DeadLetterReason.INVALID_EVENT)
        return prompt, min(order.sampling.max_new_tokens, self._max_context_tokens - len(prompt.ids))

    def _parameters(self, order: Generate, most: int) -> SamplingParams:
        sampling = order.sampling
        schema = sampling.json_schema
        return SamplingParams(
            max_tokens=most,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            logit_bias=dict(sampling.logit_bias) or None,
            logprobs=0 if sampling.log_probabilities else None,
            seed=order.seed,
            stop_token_ids=sorted(self._end_ids),
            structured_outputs=None if schema is None else StructuredOutputsParams(json=schema),
            # Text is made of the ids here, as for the torch engine: one way to hold back what is not whole yet.
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )

    def _piece(self, order: Generate, reader: Reader, output: Any) -> Piece:
        """What the new ids mean."""
        completion = output.outputs[0]
        ids = tuple(completion.token_ids)
        finish = None if completion.finish_reason is None else _FINISH.get(completion.finish_reason, FinishReason.STOP)
        text = "".join(reader.add(token) for token in ids if token not in self._end_ids)
        if finish is not None:
            text += reader.end()
        if reader.stopped:
            finish = FinishReason.STOP
        scores: tuple[float, ...] = ()
        if order.sampling.log_probabilities:
            each_id = zip(ids, completion.logprobs, strict=True)
            scores = tuple(float(known[token].logprob) for token, known in each_id)
        return Piece(
            text=text,
            ids=ids,
            log_probabilities=scores,
            finish_reason=finish,
            usage=Usage(prompt=len(output.prompt_token_ids), cached=output.num_cached_tokens or 0),
        )


_FINISH = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "repetition": FinishReason.STOP,
}


def _name(order: Generate) -> str:
    ref = order.ref
    return f"{ref.turn_id}-{ref.partition}-{ref.term}-{ref.attempt}-{ref.number}"


class _CacheUsage(StatLoggerBase):
    """Keeps the one number that is asked for. vLLM makes it, and calls it at each step."""

    def __init__(self) -> None:
        self.ratio = 0.0

    def __call__(self, *_: Any) -> "_CacheUsage":
        return self

    def record(self, scheduler_stats: Any, *_: Any, **__: Any) -> None:
        if scheduler_stats is not None:
            self.ratio = float(scheduler_stats.kv_cache_usage)

    def log_engine_initialized(self) -> None: ...


def vllm_source(
    files: ModelFiles, settings: EngineSettings, decode: Decode, end_ids: frozenset[int], *, on_cpu: bool
) -> VllmSource:
    """The engine of the settings, loaded: this may take minutes."""
    usage = _CacheUsage()
    arguments: Mapping[str, Any] = {
        "model": str(files.folder),
        "dtype": settings.dtype,
        "max_model_len": settings.max_context_tokens,
        "max_num_seqs": settings.max_batch,
        "enable_prefix_caching": True,
        "tensor_parallel_size": settings.vllm.tensor_parallel_size,
        # A GPU's memory is shared out by its ratio; a machine's by bytes, as for the torch engine.
        **(
            {"kv_cache_memory_bytes": settings.kv_cache_bytes}
            if on_cpu
            else {"gpu_memory_utilization": settings.vllm.gpu_memory_utilization}
        ),
        **settings.vllm.extra_arguments,
    }
    engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=[usage])
    return VllmSource(engine, usage, version=files.version, decode=decode, end_ids=end_ids)
