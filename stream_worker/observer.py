"""What the worker tells of itself while it runs. Whoever listens turns it into metrics and logs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stream_worker.contracts.decode import Arrival
from stream_worker.errors import PartitionRefused, StreamWorkerError
from stream_worker.outcome import DeadLetterReason, Outcome
from stream_worker.record import Record
from stream_worker.report import ReplyReport, Report
from stream_worker.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the worker holds at a moment; taken about once a second."""

    phases: Mapping[int, str]
    """Phase of every assigned partition."""
    lags: Mapping[int, int]
    """Records from each partition's group offset to its end, where both are known."""
    ages_s: Mapping[int, float]
    """How long each partition's group offset has waited; 0 without lag."""
    running_turns: int
    waiting_events: int
    uncommitted: int
    """Settlements that wait for the next transaction."""
    changelog_lag: int
    """Offsets that restores have still to read."""
    state_bytes: int
    paused: int
    """Partitions of which nothing is read, because enough is in hand."""
    engine_away: bool


class Observer(Protocol):
    """Called on the worker thread; must be quick and must not raise."""

    def beat(self) -> None:
        """The worker thread lives."""
        ...

    def snapshot(self, snapshot: Snapshot) -> None: ...

    def settled(self, outcome: Outcome, events: int) -> None: ...

    def dead_lettered(self, reason: DeadLetterReason, partition: int, offset: int, detail: str) -> None: ...

    def polled(self, seconds: float) -> None:
        """So long after the last time the input was polled again."""
        ...

    def replied(self, reply: ReplyReport) -> None: ...

    def unanswered(self, records: Sequence[Record], arrivals: Sequence[Arrival], report: Report) -> None:
        """Records that end together without a reply; `arrivals` is empty, or their events in the same order."""
        ...

    def first_delta(self, turn: Turn, seconds: float) -> None:
        """The first preview left, `seconds` after the event's record timestamp."""
        ...

    def attempt_failed(self, turn: Turn, reason: DeadLetterReason, message: str) -> None: ...

    def engine_away(self, message: str) -> None: ...

    def handed_over(self, to_human: bool) -> None: ...

    def late_result(self) -> None: ...

    def delta_dropped(self) -> None: ...

    def command_emitted(self, name: str) -> None: ...

    def called(self, turn: Turn, name: str, seconds: float, failure: str | None) -> None:
        """A call of a turn has answered, or come to nothing for the reason in `failure`."""
        ...

    def taken(self, partition: int, term: int, seconds: float, records: int) -> None: ...

    def released(self, partitions: int, lost: bool) -> None: ...

    def refused(self, error: PartitionRefused) -> None: ...

    def warned(self, message: str, partition: int) -> None: ...

    def committed(self, seconds: float, records: int) -> None: ...

    def aborted(self, cause: str) -> None: ...

    def clients_replaced(self, error: StreamWorkerError) -> None: ...
