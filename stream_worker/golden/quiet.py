"""An observer that tells nobody, counts what has settled, and keeps what went wrong."""

from collections.abc import Sequence

from stream_worker.contracts.decode import Arrival
from stream_worker.errors import PartitionRefused, StreamWorkerError
from stream_worker.observer import Snapshot
from stream_worker.outcome import DeadLetterReason, Outcome
from stream_worker.record import Record
from stream_worker.report import ReplyReport, Report
from stream_worker.turn import Turn


class Quiet:
    def __init__(self) -> None:
        self.events = 0
        """Events that were committed with an outcome."""
        self.troubles: list[str] = []

    def beat(self) -> None: ...

    def snapshot(self, snapshot: Snapshot) -> None: ...

    def settled(self, outcome: Outcome, events: int) -> None:  # noqa: ARG002
        self.events += events

    def dead_lettered(self, reason: DeadLetterReason, partition: int, offset: int, detail: str) -> None:  # noqa: ARG002
        self.troubles.append(f"dead letter ({reason}): {detail}")

    def polled(self, seconds: float) -> None: ...

    def replied(self, reply: ReplyReport) -> None: ...

    def unanswered(self, records: Sequence[Record], arrivals: Sequence[Arrival], report: Report) -> None: ...

    def first_delta(self, turn: Turn, seconds: float) -> None: ...

    def attempt_failed(self, turn: Turn, reason: DeadLetterReason, message: str) -> None:  # noqa: ARG002
        self.troubles.append(f"attempt failed ({reason}): {message}")

    def engine_away(self, message: str) -> None:
        self.troubles.append(f"the engine failed: {message}")

    def handed_over(self, to_human: bool) -> None: ...

    def late_result(self) -> None: ...

    def delta_dropped(self) -> None: ...

    def command_emitted(self, name: str) -> None: ...

    def called(self, turn: Turn, name: str, seconds: float, failure: str | None) -> None:  # noqa: ARG002
        if failure is not None:
            self.troubles.append(f"the call {name} failed: {failure}")

    def taken(self, partition: int, term: int, seconds: float, records: int) -> None: ...

    def released(self, partitions: int, lost: bool) -> None: ...

    def refused(self, error: PartitionRefused) -> None:
        self.troubles.append(str(error))

    def warned(self, message: str, partition: int) -> None: ...

    def committed(self, seconds: float, records: int) -> None: ...

    def aborted(self, cause: str) -> None:
        self.troubles.append(f"a transaction was aborted: {cause}")

    def clients_replaced(self, error: StreamWorkerError) -> None:
        self.troubles.append(str(error))
