"""Engines over tiny models with random weights, and orders for them."""

import copy
from functools import cache
from typing import Any

import torch

from stream_worker.clock import SystemClock
from stream_worker.inference.levels import Chosen, LevelName, choose
from stream_worker.inference.native.reader import Sizes
from stream_worker.inference.torch_engine import ModelFacts, TorchStepper
from stream_worker.orders import Generate, TurnRef
from stream_worker.tokens import PromptIds, Sampling
from tests.unit.inference.families import VOCABULARY, family_model

END = frozenset({1})

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gpt2")


def decode(ids: Any) -> str:
    """Every id is one word, so that the text shows the ids."""
    return "".join(f" {token}" for token in ids)


def chosen(
    family: str,
    level: LevelName,
    *,
    blocks: int = 64,
    max_rows: int = 256,
    max_context_tokens: int = 256,
    device: str = "cpu",
    host_blocks: int = 0,
) -> Chosen:
    """A runner over a model of its own, with exactly so many blocks."""
    model = copy.deepcopy(family_model(family)).to(device)
    probe = choose(copy.deepcopy(model), level, Sizes(1, 64, 1 << 20, 1)).runner.block_bytes
    return choose(model, level, Sizes(max_rows, max_context_tokens, blocks * probe, 1), host_blocks * probe)


def stepper(
    family: str = "llama",
    *,
    level: LevelName = "auto",
    max_batch: int = 4,
    blocks: int = 64,
    max_context_tokens: int = 256,
    step_tokens: int = 128,
    runs: Chosen | None = None,
) -> TorchStepper:
    """An engine over `runs`, or over a model of its own."""
    rows = max_batch + step_tokens
    ready = runs or chosen(family, level, blocks=blocks, max_rows=rows, max_context_tokens=max_context_tokens)
    return TorchStepper(
        ready.runner,
        ModelFacts(
            version=f"tiny-{family}",
            vocabulary=VOCABULARY,
            max_context_tokens=max_context_tokens,
            blocks=ready.blocks,
        ),
        decode=decode,
        end_ids=END,
        max_batch=max_batch,
        clock=SystemClock(),
        host=ready.host,
        fallbacks=tuple(fallback.reason for fallback in ready.fallbacks),
        step_tokens=step_tokens,
    )


def generate(
    name: str,
    ids: tuple[int, ...],
    sampling: Sampling,
    seed: int = 0,
    *,
    conversation: str | None = None,
    common: int = 0,
    scope: str = "tests",
) -> Generate:
    return Generate(
        ref=TurnRef(partition=0, term=1, turn_id=name, attempt=1),
        conversation=name if conversation is None else conversation,
        prompt=PromptIds(ids=ids, common=common),
        sampling=sampling,
        seed=seed,
        cache_scope=scope,
    )


@cache
def reference(family: str, ids: tuple[int, ...], max_new_tokens: int) -> tuple[int, ...]:
    """What `generate` of transformers gives for one prompt alone, greedily."""
    prompt = torch.tensor([list(ids)])
    output = family_model(family).generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=0
    )
    return tuple(int(token) for token in output[0, len(ids) :])
