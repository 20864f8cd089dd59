"""Reads a model of `transformers` into the native step: what its layers are, as data.

Covered are the families named below, each tested against its own module; what
a model has beyond them (another activation, a rotary table that grows with the
context, a head of an odd size) is found here and said, never guessed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from stream_worker.inference.native.build import Unavailable, fastest_words, library
from stream_worker.inference.native.library import NativeModel, Shape, block_bytes, pool
from stream_worker.outcome import FallbackReason

_FAMILIES = {
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "GemmaForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
}
_FIXED_ROTARY = {"default", "linear", "llama3", "yarn"}
_LANES = 16
_MOST_HEAD = 512


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a model is to have room for."""

    max_rows: int
    """Rows of one step."""
    max_tokens: int
    """Tokens of one sequence."""
    cache_bytes: int
    threads: int


def read(model: Any, sizes: Sizes) -> NativeModel | Unavailable:
    """The model in packed weights, or why not. Weights of bf16 stay bf16, those of fp32 stay fp32.

    Raises MemoryError.
    """
    if isinstance(built := library(), Unavailable):
        return built
    words = (
        fastest_words(half=model.dtype == torch.bfloat16) if model.dtype in (torch.bfloat16, torch.float32) else None
    )
    if words is None:
        return Unavailable(FallbackReason.DTYPE, f"this CPU has no native products of {model.dtype}")
    if (missing := _uncovered(model)) is not None:
        return Unavailable(FallbackReason.ARCHITECTURE, missing)
    shape = _shape(model, sizes)
    shape.kind = words
    shape.blocks = max(1, sizes.cache_bytes // block_bytes(shape))
    native = NativeModel(shape, pool(sizes.threads))
    _fill(native, model)
    return native


def _uncovered(model: Any) -> str | None:
    """What the native step cannot do of this model; None if nothing."""
    name, config = type(model).__name__, model.config
    if name not in _FAMILIES:
        return f"{name} is not among the families it runs"
    attention, mlp = model.model.layers[0].self_attn, model.model.layers[0].mlp
    if attention.head_dim % (2 * _LANES) or attention.head_dim > _MOST_HEAD:
        return f"heads of {attention.head_dim} are not multiples of 32 up to {_MOST_HEAD}"
    if config.hidden_size % _LANES or config.intermediate_size % _LANES:
        return "hidden and intermediate sizes must be multiples of 16"
    if _activation(mlp.act_fn) is None:
        return "its activation is neither silu nor gelu(tanh)"
    if unknown := set(_rotary_kinds(config)) - _FIXED_ROTARY:
        return f"rotary tables of kind {', '.join(sorted(unknown))}"
    if model.lm_head.bias is not None:
        return "its head has a bias"
    return None


def _rotary_kinds(config: Any) -> Iterator[str]:
    parameters = config.rope_parameters
    for each in [parameters] if "rope_type" in parameters else parameters.values():
        yield each["rope_type"]


def _activation(function: Any) -> int | None:
    """0 is silu, 1 gelu(tanh): told by what it does, for its name is in another place in each family."""
    probe = torch.linspace(-4, 4, 33)
    given = function(probe)
    if torch.allclose(given, torch.nn.functional.silu(probe), atol=1e-6):
        return 0
    return 1 if torch.allclose(given, torch.nn.functional.gelu(probe, approximate="tanh"), atol=1e-6) else None


def _shape(model: Any, sizes: Sizes) -> Shape:
    config, attention = model.config, model.model.layers[0].self_attn
    embedding = model.model.embed_tokens
    return Shape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        key_heads=config.num_key_value_heads,
        head=attention.head_dim,
        inner=config.intermediate_size,
        vocabulary=embedding.weight.shape[0],
        max_rows=sizes.max_rows,
        max_tokens=sizes.max_tokens,
        activation=_activation(model.model.layers[0].mlp.act_fn),
        half_embedding=int(embedding.weight.dtype == torch.bfloat16),
        eps=config.rms_norm_eps,
        query_scale=attention.scaling,
        score_cap=getattr(attention, "attn_logit_softcapping", None) or 0.0,
        logit_cap=getattr(config, "final_logit_softcapping", None) or 0.0,
        embedding_scale=_embedding_scale(model),
    )


def _embedding_scale(model: Any) -> float:
    """Rounded as the model itself rounds it."""
    scale = getattr(model.model.embed_tokens, "embed_scale", None)
    if scale is None and type(model).__name__ == "GemmaForCausalLM":
        scale = torch.tensor(model.config.hidden_size**0.5)
    return 1.0 if scale is None else float(scale.to(model.dtype))


def _fill(native: NativeModel, model: Any) -> None:
    body = model.model
    kinds = getattr(body.rotary_emb, "layer_types", [None])
    for table, kind in enumerate(kinds):
        native.rotary(table, *_rotary(body.rotary_emb, kind, native.shape.max_tokens))
    for index, layer in enumerate(body.layers):
        attention, mlp = layer.self_attn, layer.mlp
        linears = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
        linears += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
        kind = getattr(attention, "layer_type", None)
        native.layer(
            index,
            [None if norm is None else _norm(model, norm) for norm in _norms(layer)],
            [(linear.weight, linear.bias) for linear in linears],
            window=_window(model, attention),
            rotary=kinds.index(kind) if kind in kinds else 0,
        )
    native.top(body.embed_tokens.weight, _norm(model, body.norm), model.lm_head.weight)


def _norms(layer: Any) -> list[Any]:
    """Before and after attention, before and after the MLP, of queries and of keys.

    Only Gemma 2 and 3 have four; in the others `post_attention_layernorm` stands before the MLP.
    """
    attention = layer.self_attn
    of_heads = [getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)]
    if hasattr(layer, "pre_feedforward_layernorm"):
        around_mlp = [layer.pre_feedforward_layernorm, layer.post_feedforward_layernorm]
        return [layer.input_layernorm, layer.post_attention_layernorm, *around_mlp, *of_heads]
    return [layer.input_layernorm, None, layer.post_attention_layernorm, None, *of_heads]


def _norm(model: Any, norm: Any) -> torch.Tensor:
    """Gemma keeps a norm's weight less one."""
    weight: torch.Tensor = norm.weight.detach().float()
    return weight + 1 if type(model).__name__.startswith("Gemma") else weight


def _window(model: Any, attention: Any) -> int:
    """How many tokens a layer sees back, itself included; 0 is all."""
    own = attention.sliding_window if hasattr(attention, "sliding_window") else None
    if type(model).__name__ == "MistralForCausalLM":
        own = model.config.sliding_window
    return own or 0


def _rotary(embedding: Any, kind: str | None, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines by the model's own module: float32 [tokens, head / 2], the two halves being the same."""
    positions = torch.arange(tokens).unsqueeze(0)
    with torch.no_grad():
        cosines, sines = embedding(torch.zeros(1), positions, *([] if kind is None else [kind]))
    half = cosines.shape[-1] // 2
    return cosines[0, :, :half], sines[0, :, :half]
