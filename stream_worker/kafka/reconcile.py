"""Where a partition starts: the group's offset held against the ledger. Pure.

Offset and ledger are written in one transaction, so a difference between them
is a person's doing, and is decided here, rule by rule, never silently.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from shlex import quote

from stream_worker.contracts.internal import LedgerRecord
from stream_worker.errors import Code, PartitionRefused
from stream_worker.kafka.protocols import PartitionFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The ledger to begin with. `warning` is for a person where something was moved."""

    next: int
    open: tuple[int, ...]
    term: int
    crashes: Mapping[int, int] = field(default_factory=dict)
    """How many processes ended while the event of this offset may have been in a running turn."""
    condemned: int | None = None
    """The event that ran alone when the last process ended."""
    redriven_to: int = 0
    """Events below this were settled before, and are wanted again."""
    redriven_in: int = 0
    warning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What the commands that cure a refusal are given."""

    application_id: str
    topic: str
    bootstrap_servers: str

    @property
    def another_application(self) -> str:
        return f"`STREAM_WORKER__APPLICATION_ID={self.application_id}-2 stream-worker run`"

    def to_forget(self, partition: int, conversation: str) -> str:
        """Writes a tombstone in place of a state that cannot be read."""
        return (
            f"`printf 'c/%s\\t\\n' {quote(conversation)} | kcat -P -b {self.bootstrap_servers} "
            f"-t {self.application_id}-changelog -p {partition} -K '\\t' -Z`, with every worker stopped"
        )

    def to_start(self, partition: int) -> str:
        """Moves the group of stopped workers to the first event that is there."""
        return (
            f"`kafka-consumer-groups.sh --bootstrap-server {self.bootstrap_servers} --group {self.application_id} "
            f"--topic {self.topic}:{partition} --reset-offsets --to-earliest --execute`, with every worker stopped"
        )


def reconcile(
    partition: int,
    facts: PartitionFacts,
    record: LedgerRecord | None,
    *,
    from_earliest: bool,
    adopt_group: bool,
    most_in_hand: int,
    names: Names,
    term_held: int = 0,
) -> Start:
    """Raises PartitionRefused, naming what cures it, where the worker must not guess.

    `most_in_hand`: no worker has more events of a partition in hand; for ledgers that do not say which had begun.
    `term_held`: the term under which this very process had the partition last; a ledger of that term says of no crash,
    as the process lives.
    """
    if record is None:
        return _without_ledger(partition, facts, names, from_earliest=from_earliest, adopt_group=adopt_group)
    if record.moving is not None:
        raise PartitionRefused(
            Code.MOVE_UNFINISHED,
            f"partition {partition}: states are being moved from {record.moving.origin} to {record.moving.target} "
            f"partitions: stop this worker, let `stream-worker topics repartition --to {record.moving.target}` end "
            "(run it again where nobody does), and start the workers then",
            partition=partition,
        )
    if (record.topic_id, record.partitions) != (facts.topic_id, facts.partitions):
        raise PartitionRefused(
            Code.LEDGER_FOREIGN,
            f"partition {partition}: the ledger was kept for topic id {record.topic_id} with {record.partitions} "
            f"partitions, the topic now is {facts.topic_id} with {facts.partitions}: restore the topic, or begin anew "
            f"with {names.another_application}",
            partition=partition,
        )
    if record.next > facts.end:
        raise PartitionRefused(
            Code.LEDGER_BEYOND_END,
            f"partition {partition}: the ledger stands at {record.next}, the topic ends at {facts.end}: records were "
            f"lost by the broker; once they are restored or given up, begin anew with {names.another_application}",
            partition=partition,
        )
    balance_offset = record.group_offset
    if facts.committed is None or facts.committed == balance_offset:
        _not_below_start(partition, balance_offset, facts, names)
        return _continued(record, facts, most_in_hand=most_in_hand, term_held=term_held)
    _not_below_start(partition, facts.committed, facts, names)
    return Start(
        next=facts.committed,
        open=(),
        term=record.term + 1,
        redriven_to=max(record.next, record.redriven_to),
        redriven_in=record.term + 1,
        warning=f"the group's offset was moved to {facts.committed} by hand (the ledger stands at {balance_offset}): "
        "it is followed, and the ledger starts anew",
    )


def _continued(record: LedgerRecord, facts: PartitionFacts, *, most_in_hand: int, term_held: int) -> Start:
    """Goes on where the last owner stood, and asks whether it crashed, and over which event."""
    start = Start(
        next=record.next,
        open=record.open,
        term=record.term + 1,
        redriven_to=record.redriven_to,
        redriven_in=record.redriven_in,
    )
    survived = record.term == term_held
    # No worker had more in hand, and the topic had no more.
    unsettled = (*record.open, *range(record.next, min(record.next + most_in_hand, facts.end)))
    crashes = _counted(record, unsettled)
    if record.suspect in record.open and not survived:
        # Found: the others were there when it killed, and need not run alone. But one of them may have done so, too.
        return replace(start, condemned=record.suspect, crashes=dict.fromkeys(crashes.keys() - {record.suspect}, 1))
    if not (record.released or survived):
        for offset in _running(record, unsettled):
            crashes[offset] = crashes.get(offset, 0) + 1
    return replace(start, crashes=crashes)


def _counted(record: LedgerRecord, unsettled: tuple[int, ...]) -> dict[int, int]:
    """The crashes that were counted before."""
    if record.begun is not None:
        counted = dict(record.crashes)
        return {offset: counted[offset] for offset in unsettled if offset in counted}
    if record.careful_to is None:
        return {}
    return {offset: record.starts for offset in unsettled if offset < record.careful_to}


def _running(record: LedgerRecord, unsettled: tuple[int, ...]) -> list[int]:
    """The events that may have been in running turns when the ledger's owner came to its end."""
    below = record.begins_below
    if record.begun is None:
        return [offset for offset in unsettled if below is None or offset < below]
    begun = frozenset(record.begun)
    unread = range(record.next, below if below is not None else record.next)
    return [offset for offset in unsettled if offset in begun or offset in unread]


def _without_ledger(
    partition: int, facts: PartitionFacts, names: Names, *, from_earliest: bool, adopt_group: bool
) -> Start:
    if facts.committed is None:
        return Start(next=facts.start if from_earliest else facts.end, open=(), term=1)
    if not adopt_group:
        raise PartitionRefused(
            Code.ADOPT_GROUP,
            f"partition {partition}: the group has an offset ({facts.committed}) but the changelog has no ledger: the "
            "changelog was lost, or the group is another program's; run `stream-worker run --adopt-group` once",
            partition=partition,
        )
    _not_below_start(partition, facts.committed, facts, names)
    return Start(next=facts.committed, open=(), term=1, warning=f"the group was adopted at {facts.committed}")


def _not_below_start(partition: int, offset: int, facts: PartitionFacts, names: Names) -> None:
    if offset < facts.start:
        raise PartitionRefused(
            Code.OFFSET_BELOW_START,
            f"partition {partition}: the group stands at {offset}, but the topic starts at {facts.start}: the events "
            f"between were deleted unread; to go on without them: {names.to_start(partition)}",
            partition=partition,
        )
