"""What the worker sees of inference: the `Engine` and its contract.

An engine takes orders from the worker thread and puts results into the inbox
it was built with. Nothing here is blocking for the worker, except `close`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from stream_worker.inference.memory import DeviceMemory
from stream_worker.orders import Order, Result
from stream_worker.outcome import FallbackReason

Report = Callable[[Result], None]
"""Puts one result into the worker's inbox. May be called from any thread."""


class Takes(StrEnum):
    IDS = "ids"
    MESSAGES = "messages"


class Forgetting(StrEnum):
    """How far an engine can forget a conversation."""

    EXACT = "exact"
    UNREACHABLE = "unreachable"
    NONE = "none"


class Feature(StrEnum):
    """What not every engine can do. A bot that asks for one the engine lacks is refused at the start."""

    SEED = "seed"
    """The same logits and seed give the same text."""
    LOG_PROBABILITIES = "log_probabilities"
    JSON_SCHEMA = "json_schema"
    LOGIT_BIAS = "logit_bias"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine declares of itself."""

    takes: Takes
    deterministic: bool
    forgetting: Forgetting
    model: str
    max_context_tokens: int
    features: frozenset[Feature]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """A snapshot; reading it never waits for the device."""

    running: int
    waiting: int
    kv_tokens: int
    kv_capacity_tokens: int
    steps: int
    beat: float
    """Monotonic time of the device's last sign of life."""
    device_evictions: int = 0
    """Conversations whose keys and values have left the device since the start; `host_evictions`: the host tier."""
    host_evictions: int = 0
    fallbacks: tuple[FallbackReason, ...] = ()
    """Why faster ways to run the model were not taken."""
    memory: DeviceMemory | None = None
    """Of the device; None where it is another process's."""


class Engine(Protocol):
    @property
    def capabilities(self) -> Capabilities: ...

    def submit(self, order: Order) -> None:
        """Takes an order and returns at once. Called by the worker thread only.

        After `Encode` exactly one `Encoded` or `Failed` follows. After `Generate`
        come any number of `Token`, then exactly one `Generated`, `Ended` or
        `Failed`; the texts of its tokens add up to the text of `Generated`.
        After `Cancel` the generation ends within one step, with `Ended` unless
        it had ended by itself; nothing of that ref follows. A cancel of
        something unknown is ignored.
        """
        ...

    def stats(self) -> EngineStats:
        """Counts as of the last step. Never blocks."""
        ...

    def close(self, deadline_s: float) -> None:
        """Stops taking orders and ends within `deadline_s` seconds; what still runs is dropped without a result."""
        ...
