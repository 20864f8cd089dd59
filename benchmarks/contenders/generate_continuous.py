"""Continuous batching of transformers, over its manager's thread; bfloat16, paged attention."""

import os
import time

import generating
import torch
from generating import Request, serve
from transformers import AutoModelForCausalLM, GenerationConfig

_PATIENCE_S = 300.0


class Continuous:
    def __init__(self, model: torch.nn.Module) -> None:
        config = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0, max_new_tokens=128)  # type: ignore[no-untyped-call]
        self._manager = model.init_continuous_batching(generation_config=config)  # type: ignore[operator]
        self._manager.start()

    def run(self, requests: list[Request], concurrency: int) -> list[float]:
        waiting = list(reversed(requests))
        submitted: dict[str, float] = {}
        first: dict[str, float] = {}
        ended = 0
        while ended < len(requests):
            while waiting and len(submitted) - ended < concurrency:
                ids, new = waiting.pop()
                name = self._manager.add_request(ids, max_new_tokens=new, streaming=True, eos_token_id=-1)
                submitted[name] = time.monotonic()
            result = self._manager.get_result(timeout=_PATIENCE_S)
            if result is None or result.error:
                # The manager's thread would keep the process from ending.
                generating.say(failed=str(result.error if result else f"no result within {_PATIENCE_S:.0f} s"))
                os._exit(1)
            if result.request_id in submitted:
                first.setdefault(result.request_id, time.monotonic() - submitted[result.request_id])
                ended += result.is_finished()
        return list(first.values())


def load(folder: str) -> Continuous:
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation="paged|sdpa"
    )
    return Continuous(model)


if __name__ == "__main__":
    serve(load)
