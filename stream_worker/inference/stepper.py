"""What the device thread sees: something that decodes a running batch step by step.

Runs on the device thread only; no method waits for anything but the device.
"""

from typing import Protocol

from stream_worker.inference.engine import Capabilities, Forgetting, Takes
from stream_worker.inference.memory import DeviceMemory
from stream_worker.orders import Encode, Generate, Keeping, Result, TurnRef
from stream_worker.outcome import FallbackReason


class Stepper(Protocol):
    """The running batch. A request joins at the next step and leaves when it ends."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def running(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    @property
    def kv_tokens(self) -> int: ...

    @property
    def kv_capacity_tokens(self) -> int: ...

    @property
    def evictions(self) -> tuple[int, int]:
        """Conversations whose cache left the device, and the host tier, since the start."""
        ...

    @property
    def fallbacks(self) -> tuple[FallbackReason, ...]:
        """Why faster ways to run the model were not taken."""
        ...

    @property
    def memory(self) -> DeviceMemory | None:
        """Of the device, looked at once a second at most; None where nothing is run."""
        ...

    def add(self, order: Generate) -> None:
        """Queues a request. One that can never run is reported by the next `step` as `Failed`."""
        ...

    def cancel(self, ref: TurnRef) -> None:
        """Ends a request; the next `step` reports `Ended`. Unknown refs are ignored."""
        ...

    def forget(self, order: Keeping) -> None:
        """Drops what a cache holds, or puts it first in line for eviction."""
        ...

    def step(self) -> list[Result]:
        """One step: admit what fits, decode one token for each running request, report."""
        ...

    def seconds_until_ready(self) -> float:
        """0 while a step would do something now; else how long the device thread may wait."""
        ...


class NoStepper:
    """A `Stepper` for a device that only encodes. What it declares is nobody's business."""

    capabilities = Capabilities(
        takes=Takes.IDS,
        deterministic=False,
        forgetting=Forgetting.NONE,
        model="",
        max_context_tokens=0,
        features=frozenset(),
    )
    running = waiting = kv_tokens = kv_capacity_tokens = 0
    evictions = (0, 0)
    fallbacks: tuple[FallbackReason, ...] = ()
    memory: DeviceMemory | None = None

    def add(self, order: Generate) -> None:  # noqa: ARG002
        raise RuntimeError("a reply is asked of a device that only encodes")

    def cancel(self, ref: TurnRef) -> None: ...

    def forget(self, order: Keeping) -> None: ...

    def step(self) -> list[Result]:
        return []

    def seconds_until_ready(self) -> float:
        return float("inf")


class Encoder(Protocol):
    """Understands texts in micro-batches, on the device thread."""

    def encode(self, orders: list[Encode]) -> list[Result]:
        """One pass over a micro-batch: an `Encoded` or `Failed` for each order, in order."""
        ...
