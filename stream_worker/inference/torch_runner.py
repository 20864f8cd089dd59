"""The two levels that run the model's own modules: `plain`, the obvious reference, and `portable`.

Both keep keys and values in blocks, [blocks, layers, 2, key heads, 64, head], on
the model's device. `plain` gives each sequence to the model alone, with its keys
and values gathered into a cache of `transformers`. `portable` gives it the rows
of all segments in one call: linears are packed on a CPU, and its attention
writes to the blocks and reads from them, one product a sequence.

Device thread only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer

from stream_worker.inference.blocks import blocks_for
from stream_worker.inference.segments import BLOCK_TOKENS, Next, Segment

ATTENTION = "stream_worker_blocks"
"""The name that `transformers` knows the attention over blocks by."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """What a model keeps of a token: pairs of [key heads, head] in each layer, found by running one token."""

    layers: int
    key_heads: int
    head: int

    @classmethod
    def of(cls, model: Any) -> "Geometry":
        """Also warms the model up. The layers are alike, or the model is refused where it is loaded."""
        cache = DynamicCache()
        with torch.no_grad():
            model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device), past_key_values=cache)
        shapes = {tuple(tensor.shape) for pair in _kept(cache) for tensor in pair}
        if len(shapes) != 1:
            raise ValueError(f"layers of {len(shapes)} shapes")
        ((_, key_heads, _, head),) = shapes
        return cls(len(cache.layers), key_heads, head)

    def block_bytes(self, dtype: torch.dtype) -> int:
        return self.layers * 2 * self.key_heads * BLOCK_TOKENS * self.head * dtype.itemsize


class TorchBlocks:
    """Keys and values in blocks: `data` [blocks, layers, 2, key heads, 64, head]. Also a host tier of itself."""

    def __init__(self, geometry: Geometry, blocks: int, dtype: torch.dtype, device: torch.device) -> None:
        shape = (blocks, geometry.layers, 2, geometry.key_heads, BLOCK_TOKENS, geometry.head)
        # Zeros, for what a mask hides is still multiplied; on a CPU they take no memory until they are written.
        self.data = torch.zeros(shape, dtype=dtype, device=device)

    def copy_block(self, source: int, target: int, tokens: int) -> None:
        self.data[target, ..., :tokens, :] = self.data[source, ..., :tokens, :]
        self.data[target, ..., tokens:, :] = 0

    def save(self, blocks: Sequence[int]) -> Tensor:
        """`HostTier.save`: pinned where the device is a GPU, so that the copy runs beside the next step."""
        pinned = self.data.is_cuda
        saved = torch.empty((len(blocks), *self.data.shape[1:]), dtype=self.data.dtype, pin_memory=pinned)
        for at, block in enumerate(blocks):
            saved[at].copy_(self.data[block], non_blocking=pinned)
        return saved

    def load(self, saved: Tensor, blocks: Sequence[int]) -> None:
        """`HostTier.load`."""
        for at, block in enumerate(blocks):
            self.data[block].copy_(saved[at], non_blocking=self.data.is_cuda)

    def write(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """New tokens of a layer: [tokens, key heads, head] each; `slots` are block * 64 + place, int64 [tokens]."""
        blocks, places = slots // BLOCK_TOKENS, slots % BLOCK_TOKENS
        self.data[blocks, layer, 0, :, places] = keys
        self.data[blocks, layer, 1, :, places] = values

    def read(self, layer: int, table: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
        """The first `tokens` of a sequence: [key heads, tokens, head] each, a copy."""
        kept = self.data[table, layer].permute(1, 2, 0, 3, 4).flatten(2, 3)[:, :, :tokens]
        return kept[0], kept[1]


class _ModuleRunner:
    """What runners of the model's own modules share."""

    def __init__(self, model: Any, store: TorchBlocks) -> None:
        self._model = model
        self.store = store

    @property
    def is_exact(self) -> bool:
        return bool(self._model.dtype == torch.float32)

    @property
    def block_bytes(self) -> int:
        return self.store.data[0].nbytes

    def copy_block(self, source: int, target: int, tokens: int) -> None:
        self.store.copy_block(source, target, tokens)


class PlainRunner(_ModuleRunner):
    """Implements `Runner`: one sequence after the other, as the model itself would be called. Obvious, and slow."""

    @property
    def level(self) -> str:
        return "plain"

    def run(self, segments: Sequence[Segment]) -> list[Next]:
        with torch.no_grad():
            given = [self._one(segment) for segment in segments]
        return [next_ for next_ in given if next_ is not None]

    def _one(self, segment: Segment) -> Next | None:
        device = self._model.device
        table = torch.tensor(segment.blocks[: blocks_for(segment.start + len(segment.ids))], device=device)
        slots = torch.arange(segment.start, segment.start + len(segment.ids), device=device)
        cache = self._cache(table, segment.start)
        logits: Tensor = self._model(
            input_ids=torch.tensor([list(segment.ids)], device=device),
            position_ids=slots.unsqueeze(0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[0]
        places = table[slots // BLOCK_TOKENS] * BLOCK_TOKENS + slots % BLOCK_TOKENS
        for layer, pair in enumerate(_kept(cache)):
            keys, values = (one[0, :, segment.start :].transpose(0, 1) for one in pair)
            self.store.write(layer, places, keys, values)
        return _next(logits, [segment])[0] if segment.samples else None

    def _cache(self, table: Tensor, tokens: int) -> DynamicCache:
        cache = DynamicCache()
        for layer in range(self.store.data.shape[1] if tokens else 0):
            keys, values = self.store.read(layer, table, tokens)
            kept = DynamicLayer()  # type: ignore[no-untyped-call]  # not typed in transformers
            kept.lazy_initialization(keys, values)
            kept.keys, kept.values = keys.unsqueeze(0), values.unsqueeze(0)
            cache.layers.append(kept)
        return cache


def _kept(cache: DynamicCache) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of each layer, [1, heads, tokens, head]."""
    pairs = []
    for layer in cache.layers:
        assert isinstance(layer, DynamicLayer)
        assert layer.keys is not None
        assert layer.values is not None
        pairs.append((layer.keys, layer.values))
    return pairs


@dataclass(frozen=True, slots=True)
class _Rows:
    """The segments of the running call, for its attention: `spans` are (first row, rows, start, block table)."""

    store: TorchBlocks
    slots: Tensor
    spans: Sequence[tuple[int, int, int, Tensor]]


class PortableRunner(_ModuleRunner):
    """Implements `Runner`: all rows in one call of the model, attention over the blocks.

    The model must have been loaded with, or set to, the attention named `ATTENTION`.
    """

    @property
    def level(self) -> str:
        return "portable"

    def run(self, segments: Sequence[Segment]) -> list[Next]:
        """All that the step needs is copied to the device at once; only the sampled ids come back."""
        device = self._model.device
        positions = [at for one in segments for at in range(one.start, one.start + len(one.ids))]
        slots = [
            segment.blocks[at // BLOCK_TOKENS] * BLOCK_TOKENS + at % BLOCK_TOKENS
            for segment in segments
            for at in range(segment.start, segment.start + len(segment.ids))
        ]
        ids = [token for segment in segments for token in segment.ids]
        on_device = _to_device(torch.tensor([ids, positions, slots]), device)
        spans, last, row = [], [], 0
        for segment in segments:
            table = segment.blocks[: blocks_for(segment.start + len(segment.ids))]
            spans.append((row, len(segment.ids), segment.start, _to_device(torch.tensor(table), device)))
            row += len(segment.ids)
            last += [row - 1] if segment.samples else []
        wanted = [segment for segment in segments if segment.samples]
        with torch.no_grad():
            logits: Tensor = self._model(
                input_ids=on_device[0:1],
                position_ids=on_device[1:2],
                use_cache=False,
                logits_to_keep=_to_device(torch.tensor(last or [0]), device),
                block_rows=_Rows(self.store, on_device[2], spans),
            ).logits[0]
        return _next(logits, wanted) if wanted else []


def attention_over_blocks(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001  # which tokens a row sees follows from its segment
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    block_rows: _Rows,
    **kwargs: Any,  # noqa: ARG001  # what other attentions want to know
) -> tuple[Tensor, None]:
    """Of rows [1, heads, rows, head]: writes their keys and values, then each segment sees its own sequence."""
    store, layer = block_rows.store, module.layer_idx
    store.write(layer, block_rows.slots, key[0].transpose(0, 1), value[0].transpose(0, 1))
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = torch.empty_like(query[0])
    for first, rows, start, table in block_rows.spans:
        keys, values = store.read(layer, table, start + rows)
        out[:, first : first + rows] = _attend(
            query[0, :, first : first + rows], keys, values, start, scaling, sliding_window, softcap
        )
    return out.transpose(0, 1).unsqueeze(0).contiguous(), None


def _attend(
    query: Tensor, keys: Tensor, values: Tensor, start: int, scaling: float, window: int | None, softcap: float | None
) -> Tensor:
    """One segment: query [heads, rows, head] at positions from `start`, all keys up to its last row's."""
    heads, rows, head = query.shape
    group = heads // keys.shape[0]
    at = torch.arange(start, start + rows, device=query.device).unsqueeze(1)
    token = torch.arange(keys.shape[1], device=query.device).unsqueeze(0)
    seen = token <= at
    if window is not None:
        seen = seen & (token > at - window)
    # The heads of a group are rows of one product with their key head.
    grouped = query.reshape(-1, group * rows, head)
    seen = seen.repeat(group, 1)
    if softcap is None:
        mixed = torch.nn.functional.scaled_dot_product_attention(grouped, keys, values, attn_mask=seen, scale=scaling)
    else:
        scores = torch.tanh(grouped @ keys.transpose(1, 2) * (scaling / softcap)) * softcap
        weights = scores.masked_fill(~seen, float("-inf")).softmax(-1, dtype=torch.float32)
        mixed = weights.to(values.dtype) @ values
    return mixed.reshape(heads, rows, head)


AttentionInterface.register(ATTENTION, attention_over_blocks)


class _PackedLinear(torch.nn.Module):
    """A linear of oneDNN, its weight reordered once instead of at each call."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return out


def pack_linears(model: Any) -> None:
    """Replaces a CPU model's linears by packed ones, where torch has oneDNN. The head is left: it may be tied."""
    if model.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    head = model.get_output_embeddings()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is torch.nn.Linear and child is not head:
                setattr(module, name, _PackedLinear(child))


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def _next(logits: Tensor, wanted: Sequence[Segment]) -> list[Next]:
    """One row of `logits` [rows, vocabulary] for each segment. Of rows that take the likeliest only ids are copied."""
    likeliest = torch.where(logits.isfinite().any(-1), logits.argmax(-1), -1).tolist()
    return [
        Next(id_, logits[row].float().cpu().numpy() if segment.logits else None)
        for row, (id_, segment) in enumerate(zip(likeliest, wanted, strict=True))
    ]
