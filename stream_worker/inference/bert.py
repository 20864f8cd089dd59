"""BERT-family encoders over packed texts: no matrix product is spent on padding.

The tokens of all texts of a pass stand in one row, `[tokens, width]`; only the attention, a small part of the work,
sees them as `[texts, longest]`. The same code serves, explains (gradients of what goes in) and trains (float32
weights, cast for each pass).

BERT: Devlin et al., 2019, arXiv:1810.04805. RoBERTa's layers are the same; its positions begin later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

KINDS = {"bert", "roberta", "xlm-roberta", "camembert"}
"""Model types with these layers."""

_PIECES = {
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attended": ("attention.output.dense",),
    "attended_norm": ("attention.output.LayerNorm",),
    "inner": ("intermediate.dense",),
    "outer": ("output.dense",),
    "outer_norm": ("output.LayerNorm",),
}


@dataclass(frozen=True, slots=True)
class Packed:
    """The token ids of some texts in one row.

    `ids`, `positions` and `owners` (which text): int64 [tokens]; `lengths`: int64 [texts].
    `grid`: int64 [texts, longest], the row of each token, 0 where there is none; `flat`: int64 [tokens], the way back.
    `blind`: float32 [texts, 1, 1, longest], minus infinity where there is no token; None without padding.
    """

    ids: Tensor
    positions: Tensor
    owners: Tensor
    lengths: Tensor
    grid: Tensor
    flat: Tensor
    blind: Tensor | None


def pack(token_ids: Sequence[Sequence[int]]) -> Packed:
    """All texts' tokens in one row; each text has at least one."""
    sizes = [len(ids) for ids in token_ids]
    longest = max(sizes)
    lengths = torch.tensor(sizes)
    starts = torch.tensor([0, *accumulate(sizes)][:-1])
    owners = torch.repeat_interleave(torch.arange(len(sizes)), lengths)
    positions = torch.arange(sum(sizes)) - starts[owners]
    columns = torch.arange(longest)
    there = columns < lengths.unsqueeze(1)
    return Packed(
        ids=torch.tensor([token for ids in token_ids for token in ids]),
        positions=positions,
        owners=owners,
        lengths=lengths,
        grid=torch.where(there, starts.unsqueeze(1) + columns, 0),
        flat=owners * longest + positions,
        blind=None if min(sizes) == longest else torch.where(there, 0.0, float("-inf"))[:, None, None, :],
    )


def mean_of_texts(states: Tensor, packed: Packed) -> Tensor:
    """float32 [texts, width]: the mean of each text's tokens, of length 1."""
    sums = torch.zeros(len(packed.lengths), states.shape[1]).index_add(0, packed.owners, states.float())
    return functional.normalize(sums, dim=-1)


class Bert:
    """The weights of a BERT-family encoder; `weights` of each layer are float32, or of `dtype` when they only serve.

    `dtype` is what a pass computes in.
    """

    def __init__(
        self, tables: tuple[Tensor, ...], layers: tuple[dict[str, Tensor], ...], shape: "Shape", dtype: torch.dtype
    ) -> None:
        self._tables = tables
        self.layers = layers
        self._shape = shape
        self._dtype = dtype

    @property
    def width(self) -> int:
        return int(self._tables[0].shape[1])

    def with_layers(self, layers: Sequence[dict[str, Tensor]]) -> "Bert":
        """The same with other last layers."""
        kept = self.layers[: len(self.layers) - len(layers)]
        return Bert(self._tables, (*kept, *layers), self._shape, self._dtype)

    def serving(self) -> "Bert":
        """The same with weights that are cast once."""
        cast_once = tuple({name: value.to(self._dtype) for name, value in layer.items()} for layer in self.layers)
        return Bert(self._tables, cast_once, self._shape, self._dtype)

    def embed(self, packed: Packed) -> Tensor:
        """[tokens, width], what the first layer reads."""
        words, positions, scale, shift = self._tables
        states = words[packed.ids].float() + positions[packed.positions + self._shape.first_position]
        return functional.layer_norm(states, scale.shape, scale, shift, self._shape.epsilon).to(self._dtype)

    def run(self, states: Tensor, packed: Packed, layers: slice = slice(None), dropout: float = 0.0) -> Tensor:
        """[tokens, width] after these layers."""
        for layer in self.layers[layers]:
            states = self._layer(states, packed, layer, dropout)
        return states

    def _layer(self, states: Tensor, packed: Packed, layer: dict[str, Tensor], dropout: float) -> Tensor:
        attended = self._linear(self._attend(self._linear(states, layer, "qkv"), packed), layer, "attended")
        states = self._norm(states + _dropped(attended, dropout), layer, "attended_norm")
        inner = functional.gelu(self._linear(states, layer, "inner"))
        outer = self._linear(inner, layer, "outer")
        return self._norm(states + _dropped(outer, dropout), layer, "outer_norm")

    def _attend(self, qkv: Tensor, packed: Packed) -> Tensor:
        texts, longest = packed.grid.shape
        heads = self._shape.heads
        split = qkv.index_select(0, packed.grid.view(-1)).view(texts, longest, 3, heads, -1).permute(2, 0, 3, 1, 4)
        # Plain products and not the fused kernel, whose backward pass takes fifty times as long for texts this short.
        query, key, value = split.unbind(0)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if packed.blind is not None:
            scores = scores + packed.blind.to(scores.dtype)
        mixed = scores.softmax(-1) @ value
        rows: Tensor = mixed.transpose(1, 2).reshape(texts * longest, -1)
        return rows.index_select(0, packed.flat)

    def _linear(self, states: Tensor, layer: dict[str, Tensor], name: str) -> Tensor:
        weight, bias = layer[f"{name}.weight"].to(self._dtype), layer[f"{name}.bias"].to(self._dtype)
        return functional.linear(states, weight, bias)

    def _norm(self, states: Tensor, layer: dict[str, Tensor], name: str) -> Tensor:
        weight, bias = layer[f"{name}.weight"].to(self._dtype), layer[f"{name}.bias"].to(self._dtype)
        return functional.layer_norm(states, weight.shape, weight, bias, self._shape.epsilon)


@dataclass(frozen=True, slots=True)
class Shape:
    """What the weights do not say."""

    heads: int
    epsilon: float
    first_position: int


def bert_of(model: Any, dtype: torch.dtype) -> Bert:
    """From a Hugging Face model of one of `KINDS`, whose weights are float32."""
    config, weights = model.config, cast(dict[str, Tensor], model.state_dict())
    embeddings = "embeddings."
    positions = weights[f"{embeddings}position_embeddings.weight"]
    # A message is one segment: its embedding is the same for all tokens.
    positions = positions + weights[f"{embeddings}token_type_embeddings.weight"][0]
    tables = (
        # By far the largest table of a multilingual encoder.
        weights[f"{embeddings}word_embeddings.weight"].to(dtype),
        positions,
        weights[f"{embeddings}LayerNorm.weight"],
        weights[f"{embeddings}LayerNorm.bias"],
    )
    layers = tuple(_layer_weights(weights, f"encoder.layer.{at}.") for at in range(config.num_hidden_layers))
    first = 0 if config.model_type == "bert" else config.pad_token_id + 1
    return Bert(tables, layers, Shape(config.num_attention_heads, config.layer_norm_eps, first), dtype)


def _layer_weights(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        f"{name}.{kind}": torch.cat([weights[f"{prefix}{part}.{kind}"] for part in parts]).clone()
        for name, parts in _PIECES.items()
        for kind in ("weight", "bias")
    }


def _dropped(states: Tensor, dropout: float) -> Tensor:
    return functional.dropout(states, dropout) if dropout else states
