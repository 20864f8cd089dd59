"""What the worker tells of itself while it runs. Whoever listens turns it into metrics and logs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from stream_worker.contracts.metric import Timings
from stream_worker.errors import StreamWorkerError
from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome
from stream_worker.tokens import Usage
from stream_worker.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the worker holds at a moment; taken about once a second."""

    phases: Mapping[int, str]
    """Phase of every assigned partition."""
    lags: Mapping[int, int]
    """Records of each partition that are not settled and committed."""
    ages_s: Mapping[int, float]
    """Seconds since the oldest event in hand of each partition was written; 0 with nothing in hand."""
    running_turns: int
    waiting_events: int
    uncommitted: int
    paused: bool
    engine_away: bool


class Observer(Protocol):
    """Called on the worker thread; must be quick and must not raise."""

    def beat(self) -> None:
        """The worker thread lives."""
        ...

    def snapshot(self, snapshot: Snapshot) -> None: ...

    def settled(self, outcome: Outcome, events: int) -> None: ...

    def dead_lettered(self, reason: DeadLetterReason, partition: int, offset: int, detail: str) -> None: ...

    def replied(
        self, turn: Turn, intent: str | None, finish: FinishReason, timings: Timings, usage: Usage | None
    ) -> None: ...

    def first_delta(self, turn: Turn, seconds: float) -> None:
        """The first preview left, `seconds` after the event's record timestamp."""
        ...

    def attempt_failed(self, turn: Turn, reason: DeadLetterReason, message: str) -> None: ...

    def engine_away(self, message: str) -> None: ...

    def handed_over(self, to_human: bool) -> None: ...

    def late_result(self) -> None: ...

    def delta_dropped(self) -> None: ...

    def command_emitted(self, name: str) -> None: ...

    def taken(self, partition: int, term: int, seconds: float, records: int) -> None: ...

    def released(self, partitions: int, lost: bool) -> None: ...

    def refused(self, error: StreamWorkerError) -> None: ...

    def warned(self, message: str, partition: int) -> None: ...

    def committed(self, seconds: float, records: int) -> None: ...

    def aborted(self, cause: str) -> None: ...

    def clients_replaced(self, error: StreamWorkerError) -> None: ...
