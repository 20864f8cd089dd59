"""vLLM's CPU build: compiled, bfloat16, its prefix cache on. In an environment of its own."""

import asyncio
import time

from generating import Request, serve
from vllm import SamplingParams, TokensPrompt
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM


class Vllm:
    def __init__(self, folder: str) -> None:
        self._loop = asyncio.new_event_loop()
        arguments = AsyncEngineArgs(
            model=folder, dtype="bfloat16", max_model_len=512, max_num_seqs=64, enable_prefix_caching=True,
            kv_cache_memory_bytes=512 << 20, disable_log_stats=True,
        )  # fmt: skip
        self._engine = AsyncLLM.from_engine_args(arguments)
        self._count = 0

    def run(self, requests: list[Request], concurrency: int) -> list[float]:
        return self._loop.run_until_complete(self._run(requests, concurrency))

    async def _run(self, requests: list[Request], concurrency: int) -> list[float]:
        waiting, first = list(reversed(requests)), []

        async def client() -> None:
            while waiting:
                first.append(await self._one(*waiting.pop()))

        await asyncio.gather(*(client() for _ in range(concurrency)))
        return first

    async def _one(self, ids: list[int], new: int) -> float:
        self._count += 1
        parameters = SamplingParams(
            temperature=0.0, max_tokens=new, ignore_eos=True, detokenize=False, output_kind=RequestOutputKind.DELTA
        )
        submitted, first = time.monotonic(), 0.0
        async for _ in self._engine.generate(TokensPrompt(prompt_token_ids=ids), parameters, str(self._count)):
            first = first or time.monotonic() - submitted
        return first


if __name__ == "__main__":
    serve(Vllm)
