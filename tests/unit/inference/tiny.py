"""Tiny models with random weights, one a family, and orders for them."""

from functools import cache
from typing import Any

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from stream_worker.clock import SystemClock
from stream_worker.inference.torch_engine import TorchLimits, TorchStepper
from stream_worker.orders import Generate, TurnRef
from stream_worker.tokens import PromptIds, Sampling

VOCABULARY = 211
END = frozenset({1})

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


@cache
def tiny_model(family: str) -> Any:
    torch.manual_seed(7)
    match family:
        case "llama":
            model: Any = LlamaForCausalLM(LlamaConfig(**_SHAPE))
        case "qwen2":
            model = Qwen2ForCausalLM(Qwen2Config(**{k: v for k, v in _SHAPE.items() if k != "head_dim"}))
        case "qwen3":
            model = Qwen3ForCausalLM(Qwen3Config(**_SHAPE))
        case "gemma2":
            # Every other layer sees no further back than the window. With tied random weights it would only repeat
            # its last token, which any engine could do.
            own = {"sliding_window": 8, "attn_implementation": "eager", "tie_word_embeddings": False}
            model = Gemma2ForCausalLM(Gemma2Config(**_SHAPE | own))
        case "gpt2":
            shape = GPT2Config(vocab_size=VOCABULARY, n_positions=256, n_embd=32, n_layer=2, n_head=4)
            shape.initializer_range, shape.eos_token_id, shape.bos_token_id = 0.3, 1, 1
            model = GPT2LMHeadModel(shape)
        case _:
            raise ValueError(family)
    return model.eval()


FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "gpt2")


def decode(ids: Any) -> str:
    """Every id is one word, so that the text shows the ids."""
    return "".join(f" {token}" for token in ids)


def stepper(
    family: str = "llama", *, max_batch: int = 4, kv_cache_bytes: int = 1 << 20, max_context_tokens: int = 256
) -> TorchStepper:
    return TorchStepper(
        tiny_model(family),
        version=f"tiny-{family}",
        decode=decode,
        end_ids=END,
        limits=TorchLimits(max_batch=max_batch, max_context_tokens=max_context_tokens, kv_cache_bytes=kv_cache_bytes),
        clock=SystemClock(),
    )


def generate(name: str, ids: tuple[int, ...], sampling: Sampling, seed: int = 0) -> Generate:
    ref = TurnRef(partition=0, term=1, turn_id=name, attempt=1)
    return Generate(
        ref=ref, conversation=name, prompt=PromptIds(ids=ids), sampling=sampling, seed=seed, cache_scope="tests"
    )


def reference(family: str, ids: tuple[int, ...], max_new_tokens: int) -> tuple[int, ...]:
    """What `generate` of transformers gives for one prompt alone, greedily."""
    prompt = torch.tensor([list(ids)])
    output = tiny_model(family).generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=0
    )
    return tuple(int(token) for token in output[0, len(ids) :])
