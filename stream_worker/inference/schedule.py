"""What the next step runs, as data. Pure: no clock, no torch, nothing of the cache but counts.

Lanes come oldest first. What always holds: a lane that decodes has its row in
every step that has room for it; a prompt's chunk takes what the decoding lanes
leave, the oldest prompt first, several prompts at once; where blocks end, the
youngest lane gives its own back, and the oldest never does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_LEAST_CHUNK = 16
"""Tokens of prompts that every step has room for, however many lanes decode: a tile of rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A running sequence: tokens it has yet to compute (one of them while it decodes), and room in its blocks."""

    pending: int
    room: int
    blocks: int
    """Blocks that would be free without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLimits:
    tokens: int
    """Of all prompts and decoding lanes in one step."""
    chunk: int
    """Of one prompt while other lanes decode: what keeps a long prompt from stalling them."""
    rows: int
    """The most the device can take now; `tokens` or fewer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """For each lane the tokens that run (0: it waits), and whether it needs one more block first.

    The lanes of `preempted` give their blocks back, and run nothing.
    """

    tokens: tuple[int, ...]
    grows: tuple[bool, ...]
    preempted: tuple[int, ...]


def plan(lanes: Sequence[Lane], free: int, limits: StepLimits) -> Plan:
    """The next step with `free` blocks to be had. A lane's blocks hold all of its prompt: only decoding grows it."""
    growing = [lane.room == 0 for lane in lanes]
    kept = len(lanes)
    while kept > 1 and sum(growing[:kept]) > free:
        kept -= 1
        free += lanes[kept].blocks
    tokens = _tokens(lanes[:kept], limits)
    grows = [grow and ran > 0 for grow, ran in zip(growing, tokens, strict=False)]
    rest = len(lanes) - kept
    return Plan(tuple(tokens) + (0,) * rest, tuple(grows) + (False,) * rest, tuple(reversed(range(kept, len(lanes)))))


def _tokens(lanes: Sequence[Lane], limits: StepLimits) -> list[int]:
    decoding = sum(lane.pending == 1 for lane in lanes)
    left = min(limits.rows, max(limits.tokens, decoding + _LEAST_CHUNK))
    tokens = [0] * len(lanes)
    for at, lane in enumerate(lanes):
        if lane.pending == 1 and left:
            tokens[at], left = 1, left - 1
    chunk = limits.chunk if decoding else limits.tokens
    for at, lane in enumerate(lanes):
        if lane.pending > 1:
            tokens[at] = min(lane.pending, chunk, left)
            left -= tokens[at]
    return tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A request that is not admitted yet: its prompt's tokens that are not known, and the blocks they take."""

    tokens: int
    blocks: int
    """More than it shares, and one to decode into."""
    waits_for_common: bool
    """Whether what its bot's prompts begin with is being computed for another lane: then it is late, to share it."""


def admits(waiting: Waiting, *, lanes: int, max_lanes: int, pending: int, available: int, limits: StepLimits) -> bool:
    """Whether a request is admitted now. `pending` tokens of prompts are ahead; `available` blocks can be had.

    Late admission: not before its tokens could run in the next step, so that whoever waits longest can use what
    those before it have computed. A request alone is always admitted: `accept` has seen that it fits.
    """
    if lanes == 0:
        return True
    return (
        lanes < max_lanes and pending < limits.tokens and waiting.blocks <= available and not waiting.waits_for_common
    )
