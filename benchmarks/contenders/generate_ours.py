"""The torch engine as a worker runs it: its steps, in this thread."""

import time
from dataclasses import replace
from itertools import count
from pathlib import Path

from generating import Request, serve

from stream_worker.clock import SystemClock
from stream_worker.inference.loading import torch_stepper
from stream_worker.inference.models import ModelFiles
from stream_worker.inference.stepper import Stepper
from stream_worker.inference.tokenizer import load_tokenizer
from stream_worker.orders import Generate, Generated, Token, TurnRef
from stream_worker.settings.engine import EngineSettings
from stream_worker.tokens import PromptIds, Sampling

_SHARED = 26
"""Ids that every prompt begins with: the template's own."""


class Ours:
    def __init__(self, engine: Stepper) -> None:
        self._engine = engine
        self._numbers = count()

    def run(self, requests: list[Request], concurrency: int) -> list[float]:
        waiting = list(reversed(requests))
        submitted: dict[TurnRef, float] = {}
        first: dict[TurnRef, float] = {}
        ended = 0
        while ended < len(requests):
            while waiting and len(submitted) - ended < concurrency:
                order = self._order(*waiting.pop())
                submitted[order.ref] = time.monotonic()
                self._engine.add(order)
            for result in self._engine.step():
                if isinstance(result, Token | Generated):
                    first.setdefault(result.ref, time.monotonic() - submitted[result.ref])
                if isinstance(result, Generated):
                    ended += 1
                elif not isinstance(result, Token):
                    raise RuntimeError(f"a request failed: {result}")
        return list(first.values())

    def _order(self, ids: list[int], new: int) -> Generate:
        name = f"{next(self._numbers)}"
        return Generate(
            ref=TurnRef(partition=0, term=1, turn_id=name, attempt=1),
            conversation=name,
            prompt=PromptIds(ids=tuple(ids), common=min(_SHARED, len(ids) - 1)),
            sampling=Sampling(max_new_tokens=new),
            seed=0,
            cache_scope="benchmark",
        )


def load(folder: str) -> Ours:
    tokenizer = load_tokenizer(Path(folder))
    # Nothing ends a reply but its length, as with the others.
    chat_format = replace(tokenizer.chat_format(), end_ids=frozenset())
    settings = EngineSettings(max_batch=64, max_context_tokens=512, kv_cache_bytes=512 << 20)
    files = ModelFiles(folder=Path(folder), version="benchmark")
    return Ours(torch_stepper(files, tokenizer, chat_format, settings, "cpu", SystemClock()))


if __name__ == "__main__":
    serve(load)
