"""The outbox: what the next transaction will hold, as data.

An aborted commit leaves it as it was. Normally a transaction takes all of
it; after the broker refused a record the settlements are taken one by one
until the guilty one is found.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from stream_worker.contracts.decode import Arrival
from stream_worker.conversation.state import ConversationState
from stream_worker.record import Outgoing, Record
from stream_worker.report import Report
from stream_worker.turn import Turn


class Settlement(Struct, frozen=True, kw_only=True):
    """Events of one partition that end together, and everything that comes of it.

    `arrivals` can start again if the broker refuses this settlement or one
    before it; undecodable records have none. `state` is the conversation's
    new value, None where it does not change. `turn` is the one that was
    answered here, if any: what stands for a refused settlement needs its bot.
    """

    partition: int
    term: int
    records: tuple[Record, ...]
    outgoing: tuple[Outgoing, ...]
    report: Report
    arrivals: tuple[Arrival, ...] = ()
    conversation: str = ""
    state: ConversationState | None = None
    turn: Turn | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What one transaction takes of the outbox."""

    settlements: tuple[Settlement, ...]

    def settled(self) -> dict[int, set[int]]:
        """Offsets by partition."""
        offsets: dict[int, set[int]] = {}
        for settlement in self.settlements:
            offsets.setdefault(settlement.partition, set()).update(record.offset for record in settlement.records)
        return offsets

    def states(self) -> dict[int, dict[str, ConversationState]]:
        """The last state of each conversation, by partition."""
        states: dict[int, dict[str, ConversationState]] = {}
        for settlement in self.settlements:
            if settlement.state is not None:
                states.setdefault(settlement.partition, {})[settlement.conversation] = settlement.state
        return states


@dataclass(slots=True)
class Outbox:
    _settlements: list[Settlement] = field(default_factory=list)
    _singly: int = 0
    """How many of the first settlements are still to be sent one by one."""

    def __len__(self) -> int:
        return len(self._settlements)

    @property
    def isolating(self) -> bool:
        """Whether settlements are sent one by one, to find one that the broker refuses."""
        return self._singly > 0

    def add(self, settlement: Settlement) -> None:
        self._settlements.append(settlement)

    def select(self) -> Selection:
        return Selection(tuple(self._settlements[:1] if self.isolating else self._settlements))

    def committed(self, selection: Selection) -> None:
        """These were committed: they are the first ones, as nothing was added in between before them."""
        count = len(selection.settlements)
        del self._settlements[:count]
        self._singly = max(0, self._singly - count)

    def isolate(self, selection: Selection) -> None:
        """The broker refused one of these: from now on one by one."""
        self._singly = len(selection.settlements)

    def replace_first(self, settlement: Settlement) -> tuple[Settlement, ...]:
        """The first one is guilty: `settlement` (its dead letter) stands for it.

        Returns the later ones of its conversation, which are taken out: they
        build on a state that will not come to be.
        """
        guilty = self._settlements[0]
        later = tuple(
            other
            for other in self._settlements[1:]
            if guilty.conversation and (other.partition, other.conversation) == (guilty.partition, guilty.conversation)
        )
        taken = {id(other) for other in later}
        kept = [other for other in self._settlements[1:] if id(other) not in taken]
        self._singly = max(1, self._singly - len(later))
        self._settlements = [settlement, *kept]
        return later

    def drop(self, partitions: Iterable[int]) -> None:
        """Partitions that are gone take their settlements with them."""
        gone = frozenset(partitions)
        before = self._settlements[: self._singly]
        self._singly = sum(settlement.partition not in gone for settlement in before)
        self._settlements = [settlement for settlement in self._settlements if settlement.partition not in gone]

    def of_terms(self, terms: Mapping[int, int]) -> bool:
        """Whether every settlement belongs to a partition that we hold under that very term."""
        return all(terms.get(settlement.partition) == settlement.term for settlement in self._settlements)
