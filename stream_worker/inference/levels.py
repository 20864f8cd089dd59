"""Which of the three levels runs a model: native, portable or plain. Each is the reference of the one before.

What always holds: a level that was not taken is said, in one log line and in the stats.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import structlog
import torch

from stream_worker.errors import Code, Misconfigured
from stream_worker.inference.beginnings import Host
from stream_worker.inference.native.build import Unavailable
from stream_worker.inference.native.reader import Sizes, read
from stream_worker.inference.native.runner import NativeRunner
from stream_worker.inference.segments import BLOCK_TOKENS, Runner, Segment
from stream_worker.inference.torch_runner import (
    ATTENTION,
    Geometry,
    PlainRunner,
    PortableRunner,
    TorchBlocks,
    pack_linears,
)
from stream_worker.outcome import FallbackReason

LevelName = Literal["auto", "native", "portable", "plain"]

_PROBE = (0, 1, 2)
"""Ids that a level is tried with: they are in every vocabulary."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model ready to run; `fallbacks` are the faster levels' reasons, the fastest's first."""

    runner: Runner
    blocks: int
    host: Host | None
    fallbacks: tuple[Unavailable, ...]


def choose(model: Any, level: LevelName, sizes: Sizes, host_bytes: int = 0) -> Chosen:
    """The fastest level that can run the model, from `level` on. The model may be changed, and is the runner's.

    Raises Misconfigured when `level` is native and that cannot be, or when a sequence does not fit into the cache.
    """
    fallbacks: list[Unavailable] = []
    if level in ("auto", "native"):
        native = _native(model, sizes)
        if not isinstance(native, Unavailable):
            return Chosen(native, native.blocks, None, ())
        if level == "native":
            raise Misconfigured(Code.MODEL_UNSUITABLE, f"engine.level is native, but {native.detail}; set it to auto")
        fallbacks.append(native)
    geometry = Geometry.of(model)
    block_bytes = geometry.block_bytes(model.dtype)
    blocks = sizes.cache_bytes // block_bytes
    if not blocks:
        raise Misconfigured(
            Code.MODEL_UNSUITABLE,
            f"engine.kv_cache_bytes ({sizes.cache_bytes}) has no room for {BLOCK_TOKENS} tokens ({block_bytes} bytes)",
        )
    store = TorchBlocks(geometry, blocks, model.dtype, model.device)
    runner: Runner = PlainRunner(model, store)
    if level != "plain":
        portable = _portable(model, store, runner)
        if isinstance(portable, Unavailable):
            fallbacks.append(portable)
        else:
            runner = portable
    for fallback in fallbacks:
        structlog.get_logger().warning(
            "a faster level cannot run this model", level=runner.level, reason=fallback.reason, detail=fallback.detail
        )
    # On a CPU the blocks are in the host's memory already.
    host = Host(store, host_bytes // block_bytes) if host_bytes and model.device.type == "cuda" else None
    return Chosen(runner, blocks, host, tuple(fallbacks))


def _native(model: Any, sizes: Sizes) -> NativeRunner | Unavailable:
    if model.device.type != "cpu":
        return Unavailable(FallbackReason.DEVICE, f"the native step runs on a CPU, not on {model.device.type}")
    native = read(model, sizes)
    return native if isinstance(native, Unavailable) else NativeRunner(native)


def _portable(model: Any, store: TorchBlocks, plain: Runner) -> PortableRunner | Unavailable:
    """Tried with a few ids against the plain level: whether a model passes on what our attention needs is not declared
    anywhere."""
    probe = [Segment(ids=_PROBE, start=0, blocks=[0], samples=True, logits=True)]
    expected = plain.run(probe)[0].logits
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(ATTENTION)
        runner = PortableRunner(model, store)
        given = runner.run(probe)[0].logits
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        given, error_text = None, f"{type(error).__name__}: {error}"
    else:
        error_text = "other logits than the model's own attention"
    tolerance = 1e-3 if model.dtype == torch.float32 else 5e-2
    assert expected is not None
    if given is None or not np.allclose(given, expected, atol=tolerance * float(np.abs(expected).max()), rtol=0):
        model.set_attn_implementation(before)
        return Unavailable(FallbackReason.ATTENTION, f"attention over blocks gave {error_text[:300]}")
    pack_linears(model)
    return runner
