"""Keys and values of the running batch: one lane a request, all lanes ending at the same slot.

    slot     0   1   2   3   4   5   6   7
    lane 0       a   b   c   d   e             length 5
    lane 1               x   y   z             length 3
                 start               end       span 5

A decode step writes one slot for all lanes and copies nothing; a lane that
joins is written up to `end`, and the last lane takes the place of one that
leaves. What is left of a lane's text is padding, which the mask hides.

Device thread only. What always holds: lanes times slots is within the
capacity, and a lane never needs more slots than it was given when it joined.
"""

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer

_SLOT_ROUNDING = 64


class _Span:
    """The part of the slab that is in use, shared by all layers."""

    def __init__(self) -> None:
        self.lanes = 0
        self.start = 0
        self.end = 0


def kept(cache: DynamicCache) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values of each layer, [1, heads, tokens, size of a head]."""
    pairs = []
    for layer in cache.layers:
        assert isinstance(layer, DynamicLayer)
        assert layer.keys is not None
        assert layer.values is not None
        pairs.append((layer.keys, layer.values))
    return pairs


class _LaneLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # its hook for subclasses is not typed
    """One layer's slab. `keys` and `values`: [lanes, heads, slots, size of a head]."""

    def __init__(self, span: _Span, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not typed in transformers
        self._span = span
        self.keys, self.values = (one.new_zeros((0, one.shape[1], 0, one.shape[3])) for one in (keys, values))
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:  # noqa: ARG002
        raise AssertionError("a lane layer is made with its shape")

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: Any,  # noqa: ARG002  # what other caches want to know
        **kwargs: Any,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes the new slot of all lanes; returns views of all that is in use."""
        assert self.keys is not None
        assert self.values is not None
        span = self._span
        self.keys[: span.lanes, :, span.end : span.end + 1] = key_states
        self.values[: span.lanes, :, span.end : span.end + 1] = value_states
        used = slice(span.start, span.end + 1)
        return self.keys[: span.lanes, :, used], self.values[: span.lanes, :, used]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return self._span.end - self._span.start

    def get_max_length(self) -> int:
        return -1

    def get_max_cache_shape(self) -> int:
        """The name of `get_max_length` in transformers 4."""
        return -1

    def lay_out(self, lanes: int, slots: int, end: int) -> None:
        """A new slab with what is in use, now ending at slot `end`. Padding is zeros: a masked NaN is still a NaN."""
        span = self._span
        length = span.end - span.start
        self.keys, self.values = (self._moved(old, lanes, slots, end, length) for old in (self.keys, self.values))

    def _moved(self, old: torch.Tensor | None, lanes: int, slots: int, end: int, length: int) -> torch.Tensor:
        assert old is not None
        span = self._span
        new = old.new_zeros((lanes, old.shape[1], slots, old.shape[3]))
        new[: span.lanes, :, end - length : end] = old[: span.lanes, :, span.start : span.end]
        return new

    def write(self, lane: int, end: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        assert self.keys is not None
        assert self.values is not None
        self.keys[lane, :, end - keys.shape[2] : end] = keys[0]
        self.values[lane, :, end - values.shape[2] : end] = values[0]

    def read(self, lane: int, used: slice) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.keys is not None
        assert self.values is not None
        return self.keys[lane : lane + 1, :, used].clone(), self.values[lane : lane + 1, :, used].clone()

    def move(self, source: int, target: int) -> None:
        used = slice(self._span.start, self._span.end)
        for slab in (self.keys, self.values):
            assert slab is not None
            slab[target, :, used] = slab[source, :, used]


class LaneCache(Cache):
    """The running batch's cache. Lanes are numbered without gaps."""

    def __init__(self, like: DynamicCache, max_lanes: int, capacity_tokens: int) -> None:
        self._span = _Span()
        self._lane_layers = [_LaneLayer(self._span, keys, values) for keys, values in kept(like)]
        super().__init__(layers=[*self._lane_layers])
        self._max_lanes = max_lanes
        self._capacity = capacity_tokens
        self._lanes = 0
        self._slots = 0
        self.lengths: list[int] = []
        self._needs: list[int] = []

    @property
    def tokens(self) -> int:
        """What the batch takes of the capacity, padding included."""
        return self._span.lanes * (self._span.end - self._span.start)

    @property
    def allocated(self) -> int:
        """What the slab takes of the capacity, used or not."""
        return self._lanes * self._slots

    def lane(self, lane: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """A copy of a lane's keys and values of each layer, [1, heads, tokens, size of a head]."""
        used = slice(self._span.end - self.lengths[lane], self._span.end)
        return [layer.read(lane, used) for layer in self._lane_layers]

    def has_room(self, need: int, joining: int = 1) -> bool:
        """Whether `joining` more lanes fit, the longest of them with `need` tokens at its end."""
        lanes = len(self._needs) + joining
        return lanes <= self._max_lanes and lanes * max([need, *self._needs]) <= self._capacity

    def join(self, prefilled: DynamicCache, need: int) -> None:
        """Takes over a prompt's keys and values as the last lane; `need` is the most tokens it will have."""
        assert self.has_room(need)
        length = prefilled.get_seq_length()
        span = self._span
        lanes, slots = self._room_for(need)
        if (lanes, slots) != (self._lanes, self._slots) or length > span.end:
            self._lay_out(lanes, slots, max([length, *self.lengths]))
        for layer, (keys, values) in zip(self._lane_layers, kept(prefilled), strict=True):
            layer.write(span.lanes, span.end, keys, values)
        self.lengths.append(length)
        self._needs.append(need)
        self._fit()

    def leave(self, lane: int) -> None:
        """The lane ends; the last one takes its number."""
        last = len(self.lengths) - 1
        if lane != last:
            for layer in self._lane_layers:
                layer.move(last, lane)
        self.lengths[lane], self._needs[lane] = self.lengths[last], self._needs[last]
        self.lengths.pop()
        self._needs.pop()
        self._fit()
        if not self.lengths:
            # Nothing runs: conversations that may come back need the memory more.
            self._lay_out(0, 0, 0)

    def clear(self) -> None:
        """All lanes end, and the slab is given back: after running out of memory half of it may be laid out anew."""
        self.lengths.clear()
        self._needs.clear()
        self._fit()
        self._lay_out(0, 0, 0)

    def prepare(self) -> tuple[torch.Tensor, torch.Tensor]:
        """For the next step: the mask [lanes, span + 1] and the positions [lanes, 1], int64, on the CPU."""
        if self._span.end == self._slots:
            # Slots are free at the front: a lane that ends here has had all it needs.
            self._lay_out(self._lanes, self._slots, max(self.lengths))
        lengths = torch.tensor(self.lengths)
        width = self._span.end - self._span.start
        mask = torch.arange(width + 1) >= (width - lengths).unsqueeze(1)
        return mask.long(), lengths.unsqueeze(1)

    def advance(self) -> None:
        """A step wrote one token for each lane."""
        self._span.end += 1
        self.lengths = [length + 1 for length in self.lengths]

    def _room_for(self, need: int) -> tuple[int, int]:
        """Lanes and slots for one more: with room to grow where the capacity has it, so that this is rare."""
        lanes, slots = len(self._needs) + 1, max([need, *self._needs])
        if lanes <= self._lanes and slots <= self._slots:
            return self._lanes, self._slots
        rounded = max(self._slots, -(-slots // _SLOT_ROUNDING) * _SLOT_ROUNDING)
        doubled = max(self._lanes, min(self._max_lanes, 1 << (lanes - 1).bit_length()))
        return (doubled, rounded) if doubled * rounded <= self._capacity else (lanes, slots)

    def _lay_out(self, lanes: int, slots: int, end: int) -> None:
        for layer in self._lane_layers:
            layer.lay_out(lanes, slots, end)
        self._span.start = end - (self._span.end - self._span.start)
        self._span.end = end
        self._lanes, self._slots = lanes, slots

    def _fit(self) -> None:
        """The span as long as the longest lane."""
        self._span.lanes = len(self.lengths)
        if not self.lengths:
            self._span.end = 0
        self._span.start = self._span.end - max(self.lengths, default=0)
