"""Calls into the native step: ctypes declarations, and every size checked before a pointer is handed over.

What always holds: memory that the library was given stays referenced here as
long as it may be read; the library's own is freed with its object.
"""

import ctypes
import weakref
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stream_worker.inference.native.build import Unavailable, Words, library
from stream_worker.inference.segments import BLOCK_TOKENS, Next, Segment

_P = ctypes.c_void_p
_I32 = ctypes.c_int32
_F32 = ctypes.c_float

_WRONG = {1: "the number of rows", 2: "a position", 3: "a block", 4: "an id", 5: "a row to sample from"}


class Shape(ctypes.Structure):
    """A model's sizes; the fields of `Shape` in step.cpp."""

    _fields_ = [
        *[(name, _I32) for name in ("kind", "layers", "hidden", "heads", "key_heads", "head", "inner", "vocabulary")],
        *[(name, _I32) for name in ("max_rows", "max_tokens", "blocks", "activation", "half_embedding")],
        *[(name, _F32) for name in ("eps", "query_scale", "score_cap", "logit_cap", "embedding_scale")],
    ]


class _Layer(ctypes.Structure):
    _fields_ = [
        *[(name, _P) for name in ("norm_before_attention", "norm_after_attention", "norm_before_mlp")],
        *[(name, _P) for name in ("norm_after_mlp", "query_norm", "key_norm")],
        ("window", _I32),
        ("rotary", _I32),
    ]


class _Step(ctypes.Structure):
    _fields_ = [
        *[(name, _I32) for name in ("segments", "wanted", "wanted_logits", "reserved")],
        *[(name, _P) for name in ("starts", "lengths", "tables", "blocks", "ids", "want_rows", "want_logits")],
        ("likeliest", _P),
        ("logits", _P),
    ]


@cache
def _calls() -> Any:
    loaded = library()
    if isinstance(loaded, Unavailable):
        raise RuntimeError(f"there is no native step: {loaded.detail}")
    for name, gives, takes in (
        ("pool_new", _P, [ctypes.c_int]),
        ("pool_free", None, [_P]),
        ("linear_new", _P, [ctypes.c_int] * 3),
        ("linear_free", None, [_P]),
        ("linear_pack", None, [_P, _P, ctypes.c_int, ctypes.c_int, _P]),
        ("linear_run", ctypes.c_int, [_P, _P, _P, ctypes.c_long, ctypes.c_int, _P]),
        ("block_bytes", ctypes.c_long, [ctypes.POINTER(Shape)]),
        ("model_new", _P, [ctypes.POINTER(Shape), _P]),
        ("model_free", None, [_P]),
        ("model_layer", None, [_P, ctypes.c_int, ctypes.POINTER(_Layer)]),
        ("model_pack", None, [_P, ctypes.c_int, ctypes.c_int, _P, ctypes.c_int, _P]),
        ("model_top", None, [_P, _P, _P, _P, ctypes.c_int]),
        ("model_rotary", None, [_P, ctypes.c_int, _P, _P]),
        ("model_logit_columns", ctypes.c_int, [_P]),
        ("model_copy_block", None, [_P, ctypes.c_int, ctypes.c_int, ctypes.c_int]),
        ("model_step", ctypes.c_int, [_P, ctypes.POINTER(_Step)]),
    ):
        function = getattr(loaded, f"sw_{name}")
        function.restype, function.argtypes = gives, takes
    return loaded


def _made(pointer: int | None, what: str) -> int:
    if not pointer:
        raise MemoryError(f"no memory for {what}")
    return pointer


class Pool:
    """Threads that run a step together. Made once a process, see `pool`."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.pointer = _made(_calls().sw_pool_new(threads), "threads")


@cache
def pool(threads: int) -> Pool:
    """The process's threads, for as many as asked: waiting costs nothing, so they live as long as the process."""
    return Pool(threads)


def contiguous(tensor: torch.Tensor) -> torch.Tensor:
    """As the library reads weights: bf16 as it is, all else as fp32; on the CPU, row after row."""
    kept = tensor.detach().to("cpu", tensor.dtype if tensor.dtype == torch.bfloat16 else torch.float32)
    return kept.contiguous()


def _floats(tensor: torch.Tensor | None) -> tuple[torch.Tensor | None, int | None]:
    if tensor is None:
        return None, None
    kept = tensor.detach().to("cpu", torch.float32).contiguous()
    return kept, kept.data_ptr()


def block_bytes(shape: Shape) -> int:
    """Memory of one block of keys and values, all layers together; of the shape's own `blocks` nothing is read."""
    return int(_calls().sw_block_bytes(ctypes.byref(shape)))


class NativeModel:
    """A model in packed weights, and its cache of keys and values. The order of making: all layers, then `top`."""

    def __init__(self, shape: Shape, threads: Pool) -> None:
        self.shape = shape
        self._pool = threads
        self._pointer = _made(_calls().sw_model_new(ctypes.byref(shape), threads.pointer), "the model and its cache")
        weakref.finalize(self, _calls().sw_model_free, self._pointer)
        self._columns: int = _calls().sw_model_logit_columns(self._pointer)
        self._embedding: torch.Tensor | None = None

    def layer(
        self,
        index: int,
        norms: Sequence[torch.Tensor | None],
        weights: Sequence[tuple[torch.Tensor, torch.Tensor | None]],
        *,
        window: int,
        rotary: int,
    ) -> None:
        """One layer. `norms`: before and after attention, before and after the MLP, of queries and of keys.

        `weights`, each with its bias: query, key, value, out, gate, up, down, [rows, columns] as in torch.
        """
        shape, calls = self.shape, _calls()
        sizes = [shape.hidden] * 4 + [shape.head] * 2
        held = [_floats(norm) for norm in norms]
        for (norm, _), size in zip(held, sizes, strict=True):
            assert norm is None or norm.shape == (size,), "a norm has another size"
        layer = _Layer(*(pointer for _, pointer in held), window, rotary)
        calls.sw_model_layer(self._pointer, index, ctypes.byref(layer))
        queries, keys = shape.heads * shape.head, shape.key_heads * shape.head
        expected = [(queries, shape.hidden), (keys, shape.hidden), (keys, shape.hidden), (shape.hidden, queries)]
        expected += [(shape.inner, shape.hidden), (shape.inner, shape.hidden), (shape.hidden, shape.inner)]
        for which, ((weight, bias), size) in enumerate(zip(weights, expected, strict=True)):
            assert weight.shape == size, "a weight has another shape"
            assert bias is None or bias.shape == size[:1], "a bias has another shape"
            packed, (kept, its_bias) = contiguous(weight), _floats(bias)
            half = packed.dtype == torch.bfloat16
            calls.sw_model_pack(self._pointer, index, which, packed.data_ptr(), half, its_bias)
            del kept  # copied by now

    def rotary(self, table: int, cosines: torch.Tensor, sines: torch.Tensor) -> None:
        """float32 [max_tokens, head / 2] each."""
        size = (self.shape.max_tokens, self.shape.head // 2)
        assert cosines.shape == sines.shape == size, "a rotary table has another shape"
        (held, of_cosines), (also_held, of_sines) = _floats(cosines), _floats(sines)
        _calls().sw_model_rotary(self._pointer, table, of_cosines, of_sines)
        del held, also_held  # copied by now

    def top(self, embedding: torch.Tensor, norm: torch.Tensor, head: torch.Tensor) -> None:
        """`embedding` [vocabulary, hidden] is kept and read at each step; the others are copied."""
        shape = self.shape
        self._embedding, packed = contiguous(embedding), contiguous(head)
        assert self._embedding.shape == packed.shape == (shape.vocabulary, shape.hidden), "a head has another shape"
        assert (self._embedding.dtype == torch.bfloat16) == bool(shape.half_embedding), "an embedding of another type"
        held, of_norm = _floats(norm)
        half = packed.dtype == torch.bfloat16
        _calls().sw_model_top(self._pointer, self._embedding.data_ptr(), of_norm, packed.data_ptr(), half)
        del held  # copied by now

    def copy_block(self, source: int, target: int, tokens: int) -> None:
        assert 0 <= source < self.shape.blocks and 0 <= target < self.shape.blocks, "no such block"  # noqa: PT018
        assert 0 <= tokens <= BLOCK_TOKENS, "a block has fewer tokens"
        _calls().sw_model_copy_block(self._pointer, source, target, tokens)

    def step(self, segments: Sequence[Segment]) -> list[Next]:
        """Runs all segments in one call; see `Runner.run`. Raises RuntimeError for indices out of range."""
        arrays = _arrays(segments)
        wanted = [segment.logits for segment in segments if segment.samples]
        likeliest = np.empty(max(1, len(wanted)), np.int32)
        logits = np.empty((sum(wanted), self._columns), np.float32)
        step = _Step(
            len(segments), len(wanted), sum(wanted), 0, *(array.ctypes.data for array in arrays),
            likeliest.ctypes.data, logits.ctypes.data,
        )  # fmt: skip
        if wrong := _calls().sw_model_step(self._pointer, ctypes.byref(step)):
            raise RuntimeError(f"a step was refused: {_WRONG.get(wrong, 'this kind of words')} is out of range")
        rows = iter(logits[:, : self.shape.vocabulary])
        return [Next(int(likeliest[at]), next(rows) if asked else None) for at, asked in enumerate(wanted)]


def _arrays(segments: Sequence[Segment]) -> list[NDArray[np.int32]]:
    """In the order of `_Step`: starts, lengths, tables, blocks, ids, want_rows, want_logits."""
    lengths = np.array([len(segment.ids) for segment in segments], np.int32)
    ends = lengths.cumsum(dtype=np.int32)
    tables, blocks, ids = [], list[int](), list[int]()
    for segment in segments:
        tables.append(len(blocks))
        assert len(segment.blocks) * BLOCK_TOKENS >= segment.start + len(segment.ids), "a table is too short"
        blocks += segment.blocks
        ids += segment.ids
    rows = [int(ends[at]) - 1 for at, segment in enumerate(segments) if segment.samples]
    asked = [segment.logits for segment in segments if segment.samples]
    places = [sum(asked[:at]) if one else -1 for at, one in enumerate(asked)]
    starts = np.array([segment.start for segment in segments], np.int32)
    return [starts, lengths, *(np.array(each or [0], np.int32) for each in (tables, blocks, ids, rows, places))]


class PackedLinear:
    """`x @ weight.T + bias` by the native kernels: the seam for models other than the generator, such as an encoder.

        linear = PackedLinear.make(layer.weight, layer.bias, half=True, threads=2)   # None: keep the torch module
        y = linear(x)                                     # x: float32 [..., columns] on the CPU → float32 [..., rows]

    Weights are packed once (bf16 if `half`, else fp32) and the module's may be dropped. Each row is rounded to bf16,
    summed in fp32, and does not depend on the other rows. From one thread at a time.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, words: Words, threads: Pool) -> None:
        self.rows, self.columns = weight.shape
        self._pool, self._words = threads, words
        self._pointer = _made(_calls().sw_linear_new(self.rows, self.columns, words), "a packed weight")
        weakref.finalize(self, _calls().sw_linear_free, self._pointer)
        packed, (held, its_bias) = contiguous(weight), _floats(bias)
        half = packed.dtype == torch.bfloat16
        _calls().sw_linear_pack(self._pointer, packed.data_ptr(), half, self.rows, its_bias)
        del held  # copied by now

    @classmethod
    def make(
        cls, weight: torch.Tensor, bias: torch.Tensor | None, *, half: bool, threads: int
    ) -> "PackedLinear | None":
        """None where this machine has no native kernels for it: `native.build.library` says why."""
        from stream_worker.inference.native.build import fastest_words

        words = fastest_words(half=half)
        if words is None or isinstance(library(), Unavailable) or weight.shape[1] % 16:
            return None
        return cls(weight, bias, words, pool(threads))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, self.columns).to(torch.float32).contiguous()
        y = torch.empty((rows.shape[0], self.rows), dtype=torch.float32)
        if _calls().sw_linear_run(
            self._pointer, self._pool.pointer, rows.data_ptr(), rows.shape[0], self._words, y.data_ptr()
        ):
            raise MemoryError("no memory for the rows of a linear")
        return y.reshape(*x.shape[:-1], self.rows)
