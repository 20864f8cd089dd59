"""Which conversation starts next when the engine has room. Pure.

By age over all partitions, so no backlog starves the others; tenants share by
weight: the one with the fewest running turns for its weight comes first.
"""

import heapq
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain, count


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """A conversation whose next turn may start; the oldest record timestamp comes first."""

    timestamp_ms: int
    number: int
    partition: int = field(compare=False)
    term: int = field(compare=False)
    conversation: str = field(compare=False)
    tenant: str = field(compare=False)


class ReadyQueue:
    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self._weights = weights or {}
        self._by_tenant: dict[str, list[Candidate]] = {}
        self._present: set[tuple[int, int, str]] = set()
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._present)

    def add(self, *, timestamp_ms: int, partition: int, term: int, conversation: str, tenant: str) -> None:
        """Adds a conversation, unless it is in the queue already."""
        place = (partition, term, conversation)
        if place in self._present:
            return
        self._present.add(place)
        candidate = Candidate(timestamp_ms, next(self._numbers), partition, term, conversation, tenant)
        heapq.heappush(self._by_tenant.setdefault(tenant, []), candidate)

    def pop(
        self, running_of: Callable[[str], int], only: Collection[tuple[int, str]] | None = None
    ) -> Candidate | None:
        """The oldest candidate of the tenant with the fewest running turns for its weight.

        With `only`, the oldest of these conversations, by partition and name, whosever it is.
        """
        if not self._by_tenant:
            return None
        if only is not None:
            return self._oldest_of(only)
        tenant = min(self._by_tenant, key=lambda name: self._rank(name, running_of(name)))
        candidate = heapq.heappop(self._by_tenant[tenant])
        self._taken(candidate)
        return candidate

    def by_age(self) -> list[Candidate]:
        """All of them, oldest first."""
        return sorted(chain(*self._by_tenant.values()), key=lambda each: (each.timestamp_ms, each.number))

    def _oldest_of(self, conversations: Collection[tuple[int, str]]) -> Candidate | None:
        waiting = chain(*self._by_tenant.values())
        found = min((each for each in waiting if (each.partition, each.conversation) in conversations), default=None)
        if found is not None:
            candidates = self._by_tenant[found.tenant]
            candidates.remove(found)
            heapq.heapify(candidates)
            self._taken(found)
        return found

    def _taken(self, candidate: Candidate) -> None:
        if not self._by_tenant[candidate.tenant]:
            del self._by_tenant[candidate.tenant]
        self._present.discard((candidate.partition, candidate.term, candidate.conversation))

    def _rank(self, tenant: str, running: int) -> tuple[float, Candidate]:
        """How full its share would be with one more turn; among equals the oldest comes first."""
        return (running + 1) / self._weights.get(tenant, 1.0), self._by_tenant[tenant][0]
