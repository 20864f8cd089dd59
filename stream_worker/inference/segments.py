"""What one step computes, and what it gives: the vocabulary between the scheduler and whatever runs the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK_TOKENS = 64
"""Tokens whose keys and values are kept, shared and freed together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Consecutive tokens of one sequence: the one token of a decode step, or a chunk of a prompt.

    `ids` are at the positions from `start` on; `blocks` is the sequence's table,
    which has room for all of them, and holds keys and values of what is before.
    """

    ids: Sequence[int]
    start: int
    blocks: Sequence[int]
    samples: bool
    """Whether the token after the last id is wanted."""
    logits: bool = False
    """Whether all its logits are wanted, not the likeliest id alone."""


@dataclass(frozen=True, slots=True)
class Next:
    """Of one segment that samples: the likeliest id, and its logits, float32 [vocabulary] on the CPU, if asked for.

    `likeliest` is -1 where the model gave no finite logit.
    """

    likeliest: int
    logits: NDArray[np.float32] | None


class Runner(Protocol):
    """Runs a model over segments. Device thread only.

    What always holds: what a segment gives depends on its own tokens alone, but
    for rounding; blocks that no segment names are not touched.
    """

    @property
    def level(self) -> str: ...

    @property
    def is_exact(self) -> bool:
        """Whether a row's result is bit for bit the same in any batch."""
        ...

    @property
    def block_bytes(self) -> int:
        """Memory of one block, all layers together."""
        ...

    def run(self, segments: Sequence[Segment]) -> list[Next]:
        """One step: all tokens of all segments. A `Next` for each segment that samples, in their order.

        Raises MemoryError or RuntimeError; then nothing of this step counts, and it may be repeated.
        """
        ...

    def copy_block(self, source: int, target: int, tokens: int) -> None:
        """Makes `target` begin with the first `tokens` of `source`."""
        ...
