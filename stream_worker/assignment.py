"""One partition in our hands: its phase, term, ledger, mailboxes and running turns.

Owned by the worker thread. The phases and their legal transitions:

    asking → restoring → claiming → serving → gone
       └──────────┴──────────┴─→ refused → gone

- asking: the broker is asked for the group's offset and the ends of the logs;
- restoring: the changelog is read up to its end;
- claiming: one transaction raises the term, then records are read;
- refused: offsets and ledger contradict each other; a person must look.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from stream_worker.contracts.internal import LedgerRecord
from stream_worker.conversation.mailbox import Mailbox, Waiting
from stream_worker.conversation.states import States
from stream_worker.kafka.ledger import Balance, Ledger
from stream_worker.kafka.protocols import Inquiry, PartitionFacts
from stream_worker.orders import TurnRef
from stream_worker.suspicion import Suspicion
from stream_worker.turn import Phase as TurnPhase


class Phase(StrEnum):
    ASKING = "asking"
    RESTORING = "restoring"
    CLAIMING = "claiming"
    SERVING = "serving"
    REFUSED = "refused"
    GONE = "gone"


_LEGAL: dict[Phase, frozenset[Phase]] = {
    Phase.ASKING: frozenset({Phase.RESTORING, Phase.REFUSED, Phase.GONE}),
    Phase.RESTORING: frozenset({Phase.CLAIMING, Phase.REFUSED, Phase.GONE}),
    Phase.CLAIMING: frozenset({Phase.SERVING, Phase.REFUSED, Phase.GONE}),
    Phase.SERVING: frozenset({Phase.REFUSED, Phase.GONE}),
    Phase.REFUSED: frozenset({Phase.GONE}),
    Phase.GONE: frozenset(),
}


@dataclass(slots=True)
class Restore:
    """How far the changelog was read."""

    started: float
    ledger: bytes | None = None
    """The newest ledger record, as it stands in the changelog."""
    records: int = 0
    position: int = 0
    """One past the last record that was read."""
    current_ms: int = 0
    """When the copy was last all that the changelog says: until the end is reached, it does not become younger."""
    ledger_at: int | None = None
    """Where the last ledger stands."""


@dataclass(slots=True)
class Assignment:
    partition: int
    inquiry: Inquiry
    states: States
    restore: Restore
    max_waiting_events: int
    phase: Phase = Phase.ASKING
    term: int = 0
    facts: PartitionFacts | None = None
    ledger: Ledger = field(default_factory=lambda: Ledger(0))
    turns: dict[str, TurnPhase] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    """The last attempt of each turn that was taken back, until it starts again."""
    held_bytes: int = 0
    timestamps: dict[int, int] = field(default_factory=dict)
    """When each open offset's record was written, oldest offset first."""
    waiting_events: int = 0
    """Events in mailboxes and running turns."""
    suspicion: Suspicion = field(default_factory=Suspicion)
    redriven_to: int = 0
    redriven_in: int = 0
    """What lies below `redriven_to` is there again by a person's will, since that term."""
    is_closing: bool = False
    """It is about to be given away: what runs may end, nothing new starts."""
    _mailboxes: dict[str, Mailbox] = field(default_factory=dict)

    def move_to(self, phase: Phase) -> None:
        """Raises RuntimeError for a transition that the table does not have: a bug."""
        if phase not in _LEGAL[self.phase]:
            raise RuntimeError(f"partition {self.partition} cannot go from {self.phase} to {phase}")
        self.phase = phase

    def refuse(self) -> None:
        """Nothing of it is in hand any more: what was is open in the ledger, and waits for a person."""
        self.move_to(Phase.REFUSED)
        self._mailboxes.clear()
        self.waiting_events = self.held_bytes = 0
        self.suspicion.let_go()

    @property
    def is_serving(self) -> bool:
        return self.phase is Phase.SERVING

    def has_mailbox(self, conversation: str) -> bool:
        """Whether anything of the conversation waits or runs."""
        return conversation in self._mailboxes

    def mailbox(self, conversation: str) -> Mailbox:
        box = self._mailboxes.get(conversation)
        if box is None:
            box = self._mailboxes[conversation] = Mailbox(self.max_waiting_events)
        return box

    def head(self, conversation: str) -> Waiting | None:
        """What may start next in the conversation."""
        box = self._mailboxes.get(conversation)
        return box.head if box is not None else None

    def tidy(self, conversation: str) -> None:
        """An empty mailbox is thrown away, so memory does not grow with conversations."""
        box = self._mailboxes.get(conversation)
        if box is not None and box.is_empty:
            del self._mailboxes[conversation]

    def redrive_of(self, offset: int) -> str:
        """The name of the redrive that an event is part of because the group's offset was moved back; else empty."""
        return f"moved-{self.redriven_in}" if offset < self.redriven_to else ""

    def running(self, ref: TurnRef) -> TurnPhase | None:
        """The phase of the turn whose running attempt `ref` names; None for anything late."""
        phase = self.turns.get(ref.turn_id)
        return phase if phase is not None and phase.turn.ref == ref else None

    def ledger_record(self, balance: Balance, *, released: bool) -> bytes:
        """The ledger as the next transaction writes it."""
        assert self.facts is not None
        suspicion = self.suspicion
        suspect = suspicion.condemned if released else suspicion.in_ledger
        return LedgerRecord(
            topic_id=self.facts.topic_id,
            partition=self.partition,
            partitions=self.facts.partitions,
            term=self.term,
            next=balance.next,
            open=balance.open,
            released=released,
            starts=suspicion.starts,
            careful_to=suspicion.careful_to,
            suspect=suspect if suspect in balance.open else None,
            begins_below=suspicion.foreseen.unread.stop,
            begun=tuple(sorted(suspicion.foreseen.in_hand)),
            crashes=tuple(sorted(suspicion.crashes.items())),
            redriven_to=self.redriven_to if balance.group_offset < self.redriven_to else 0,
            redriven_in=self.redriven_in if balance.group_offset < self.redriven_to else 0,
        ).dump()
