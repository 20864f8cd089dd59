"""Taking a partition, as numbered steps. The order is what makes it safe.

1. Ask for the group's offset until no transaction is pending on it: only then
   has everything that the previous owner committed reached the changelog.
2. Then ask for the changelog's end, *uncommitted records included*: the last
   stable offset may lie before the previous owner's last records.
3. Read the changelog, committed records only, until the position passes that
   end: so the markers of all transactions before it have been seen. Where the
   local copy may be gone on with, only the tail behind it is read.
4. Hold the group's offset against the ledger, and raise the term.
5. Commit that in a first transaction (the committer does): from here on
   whoever takes the partition next knows that we had it.
6. Read the input, from exactly the group's offset.

Steps 1 and 2 are one inquiry. Everything is done in slices, so that other
partitions are served meanwhile.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from stream_worker.assignment import Assignment, Phase
from stream_worker.clock import Clock
from stream_worker.contracts.internal import LEDGER_PREFIX, STATE_PREFIX, LedgerRecord, load_ledger
from stream_worker.conversation.copy import tail_start
from stream_worker.conversation.state import erased_at
from stream_worker.conversation.store import Store
from stream_worker.errors import PartitionRefused
from stream_worker.kafka.ledger import Ledger
from stream_worker.kafka.protocols import ChangelogReader, ChangelogRecord, Clients, PartitionFacts
from stream_worker.kafka.reconcile import Names, reconcile
from stream_worker.observer import Observer
from stream_worker.suspicion import Suspicion

_SLICE_RECORDS = 500
_SLICE_S = 0.006
"""Reading takes about half of a slice's 15 ms; the rest is keeping."""


class Taking:
    def __init__(
        self,
        *,
        assignments: Mapping[int, Assignment],
        store: Store,
        observer: Observer,
        clock: Clock,
        keeps_deletions_ms: int,
        from_earliest: bool,
        adopt_group: bool,
        most_in_hand: int,
        names: Names,
    ) -> None:
        self._assignments = assignments
        self._store = store
        self._observer = observer
        self._clock = clock
        self._keeps_deletions_ms = keeps_deletions_ms
        self._from_earliest = from_earliest
        self._adopt_group = adopt_group
        self._most_in_hand = most_in_hand
        self.names = names
        # Under which term this process had a partition last, and what it knew of its crashes then.
        self._held: dict[int, tuple[int, Suspicion]] = {}
        self._is_behind = False

    @property
    def is_behind(self) -> bool:
        """Whether the last slice ended before what was there to read did."""
        return self._is_behind

    def advance(self, clients: Clients) -> None:
        """One slice for every partition that is being taken."""
        self._is_behind = False
        for assignment in self._in(Phase.ASKING):
            with self._refusing(assignment):
                self._ask(assignment, clients.changelog)
        if self._in(Phase.RESTORING):
            self._restore(clients.changelog)

    def _in(self, phase: Phase) -> list[Assignment]:
        return [assignment for assignment in self._assignments.values() if assignment.phase is phase]

    @contextmanager
    def _refusing(self, assignment: Assignment) -> Iterator[None]:
        """A partition that contradicts itself is refused alone; the others go on."""
        try:
            yield
        except PartitionRefused as error:
            assignment.move_to(Phase.REFUSED)
            self._observer.refused(error)

    def _ask(self, assignment: Assignment, changelog: ChangelogReader) -> None:
        facts = assignment.inquiry.answer()
        if facts is None:
            return
        assignment.facts = facts
        copy, now_ms = self._store.copy(assignment.partition), self._clock.now_ms()
        start = tail_start(
            copy,
            origin=facts.changelog_origin,
            log_start=facts.changelog_start,
            log_end=facts.changelog_end,
            now_ms=now_ms,
            keeps_deletions_ms=self._keeps_deletions_ms,
        )
        if start is None:
            self._store.begin(assignment.partition, facts.changelog_origin)
        assignment.restore.current_ms = now_ms if copy is None or start is None else copy.current_ms
        assignment.restore.position = start or facts.changelog_start
        changelog.open(assignment.partition, facts.changelog_end, start or 0)
        assignment.move_to(Phase.RESTORING)

    def _restore(self, changelog: ChangelogReader) -> None:
        by_partition: dict[int, list[ChangelogRecord]] = {}
        until = self._clock.monotonic() + _SLICE_S
        while records := changelog.read(_SLICE_RECORDS):
            for record in records:
                by_partition.setdefault(record.partition, []).append(record)
            if self._clock.monotonic() >= until:
                self._is_behind = True
                break
        for assignment in self._in(Phase.RESTORING):
            with self._refusing(assignment):
                self._keep(assignment, by_partition.get(assignment.partition, []))
                if changelog.reached_end(assignment.partition):
                    changelog.close(assignment.partition)
                    self._claim(assignment)

    def _keep(self, assignment: Assignment, records: list[ChangelogRecord]) -> None:
        states: dict[bytes, bytes | None] = {}
        for record in records:
            if record.key.startswith(STATE_PREFIX):
                states[record.key[len(STATE_PREFIX) :]] = record.value
            elif record.key.startswith(LEDGER_PREFIX) and record.value is not None:
                assignment.restore.ledger, assignment.restore.ledger_at = record.value, record.offset
        if records:
            assignment.restore.records += len(records)
            assignment.restore.position = records[-1].offset + 1
            erased = [key for key, value in states.items() if value is not None and erased_at(value)]
            # A copy stands at a ledger, so that its tail has one, also where others wrote behind the last.
            ledger_at = assignment.restore.ledger_at
            position = records[-1].offset if ledger_at is None else ledger_at
            self._store.apply(assignment.partition, states, position, erased, assignment.restore.current_ms)

    def _ledger(self, partition: int, facts: PartitionFacts, raw: bytes | None) -> LedgerRecord | None:
        """The last record alone counts: one before it that cannot be read may stand there until it is compacted."""
        if raw is None:
            return None
        try:
            return load_ledger(raw, partition)
        except PartitionRefused as error:
            if not self._adopt_group or facts.committed is None:
                raise
            self._observer.warned(f"adopted without its ledger: {error.detail}", partition)
            return None

    def _claim(self, assignment: Assignment) -> None:
        assert assignment.facts is not None
        term, before = self._held.get(assignment.partition, (0, Suspicion()))
        start = reconcile(
            assignment.partition,
            assignment.facts,
            self._ledger(assignment.partition, assignment.facts, assignment.restore.ledger),
            from_earliest=self._from_earliest,
            adopt_group=self._adopt_group,
            most_in_hand=self._most_in_hand,
            names=self.names,
            term_held=term if before.was_written else 0,
        )
        if start.warning:
            self._observer.warned(start.warning, assignment.partition)
        assignment.term = start.term
        assignment.redriven_to, assignment.redriven_in = start.redriven_to, start.redriven_in
        condemned = start.condemned if start.condemned is not None else before.condemned
        if condemned not in start.open:
            condemned = None
        assignment.ledger = Ledger(start.next, start.open)
        assignment.suspicion = Suspicion.at_take(start.crashes, condemned, start.open)
        self._held[assignment.partition] = (start.term, assignment.suspicion)
        if suspects := assignment.suspicion.suspects:
            sentence = (
                f"{suspects} events of this partition may have been in running turns when two processes or more "
                "ended: each runs alone"
            )
            self._observer.warned(sentence, assignment.partition)
        assignment.move_to(Phase.CLAIMING)
