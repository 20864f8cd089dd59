"""Tiny models with random weights of every family that the native step covers, and one that it does not."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCABULARY = 211

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "eos_token_id": 1,
    "pad_token_id": 0,
    # Tied random weights mostly repeat their last token, which any engine could do.
    "tie_word_embeddings": False,
}
_LLAMA3_ROTARY = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
#: A window that is no multiple of a block, and shorter than the prompts of the tests.
_WINDOW = {"sliding_window": 70}
_CAPPED = {"query_pre_attn_scalar": 48, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 10.0}

_MAKERS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_SHAPE)),
    "llama3": lambda: LlamaForCausalLM(LlamaConfig(**_SHAPE | {"rope_parameters": _LLAMA3_ROTARY})),
    "llama_tied": lambda: LlamaForCausalLM(LlamaConfig(**_SHAPE | {"tie_word_embeddings": True})),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_SHAPE | _WINDOW)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_SHAPE | {"hidden_size": 128})),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_SHAPE)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**_SHAPE | {"num_key_value_heads": 1})),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**_SHAPE | _WINDOW | _CAPPED | {"attn_implementation": "eager"})),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**_SHAPE | _WINDOW | {"query_pre_attn_scalar": 48})),
}
#: What the native step runs.
COVERED = tuple(_MAKERS)


def _gpt2() -> Any:
    shape = GPT2Config(vocab_size=VOCABULARY, n_positions=512, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3)
    shape.eos_token_id, shape.bos_token_id, shape.tie_word_embeddings = 1, 1, False
    return GPT2LMHeadModel(shape)


@cache
def family_model(family: str) -> Any:
    """float32. Norms and biases are random, too: as they are made, most could be left out unseen."""
    torch.manual_seed(3)
    model = (_gpt2 if family == "gpt2" else _MAKERS[family])().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.normal_(0.3, 0.3)
    return model
