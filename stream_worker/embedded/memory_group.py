"""A consumer group's coordinator in memory: members, generations, assignment and offsets.

It follows the classic protocol with cooperative assignment. A rebalance is
complete when every member has polled: a silent one holds the others up until
its session ends. A partition that moves is first taken from its owner, who
then asks for another rebalance, and only then given to the next one.

Always holds:
- A partition is assigned to nobody while another member still owns it.
- The fence knows members and generations, never who owns a partition.
- An offset that a transaction holds back is neither the old one nor the new one: it is pending.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemberToken:
    """What a member says of itself when it commits offsets."""

    member: str
    generation: int


class GroupMovedOn(Exception):
    """The member is unknown, or its generation is over."""


@dataclass(slots=True)
class _Member:
    session_timeout_s: float
    seen_s: float
    generation: int = -1
    owned: frozenset[int] = frozenset()
    has_joined: bool = False
    """Whether it takes part in the rebalance that is under way."""
    assignment: frozenset[int] | None = None
    """What the last rebalance gave it, until it has been told."""


class MemoryGroup:
    """The coordinator of one group, over one topic with so many partitions."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._members: dict[str, _Member] = {}
        self._joined_ever = 0
        self._generation = 0
        self._is_rebalancing = False
        self._committed: dict[int, int] = {}
        self._pending: dict[int, dict[int, int]] = {}  # transaction → next offsets by partition

    def join(self, now_s: float, session_timeout_s: float) -> str:
        """Adds a member and starts a rebalance; its name."""
        self._joined_ever += 1
        name = f"member-{self._joined_ever}"
        self._members[name] = _Member(session_timeout_s, now_s)
        self._is_rebalancing = True
        return name

    def poll(self, member: str, owned: frozenset[int], now_s: float) -> frozenset[int] | None:
        """A sign of life. Returns the assignment to change over to, or None when there is nothing new.

        A member that was given partitions is told so before it joins the next rebalance: what it says it owns is true.
        """
        this = self._members[member]
        this.seen_s = now_s
        if self._is_rebalancing and this.assignment is None:
            this.owned = owned
            this.has_joined = True
            if all(each.has_joined for each in self._members.values()):
                self._complete()
        assignment, this.assignment = this.assignment, None
        return assignment

    def rejoin(self, member: str) -> None:
        """Asks for another rebalance: the member has given up what others are to have."""
        if member in self._members:
            self._is_rebalancing = True

    def leave(self, member: str) -> None:
        """Unknown members are ignored: their session was over."""
        if self._members.pop(member, None) is not None:
            self._is_rebalancing = True

    def expire(self, now_s: float) -> None:
        """Removes the members that were silent for longer than their session."""
        for name, member in list(self._members.items()):
            if now_s - member.seen_s > member.session_timeout_s:
                self.leave(name)

    def knows(self, member: str) -> bool:
        return member in self._members

    def generation_of(self, member: str) -> int | None:
        """The generation that the member belongs to; None before its first one and after its session."""
        known = self._members.get(member)
        return known.generation if known is not None and known.generation >= 0 else None

    def is_pending(self, partition: int) -> bool:
        """Whether an open transaction holds an offset of this partition."""
        return any(partition in offsets for offsets in self._pending.values())

    def committed(self, partition: int) -> int | None:
        return self._committed.get(partition)

    def set_offset(self, partition: int, offset: int | None) -> None:
        """What a person does with Kafka's tools: moves an offset, or deletes it."""
        if offset is None:
            self._committed.pop(partition, None)
        else:
            self._committed[partition] = offset

    def hold(self, transaction: int, offsets: Mapping[int, int], token: MemberToken) -> None:
        """Takes offsets that count when the transaction is committed. Raises GroupMovedOn."""
        known = self._members.get(token.member)
        if known is None:
            raise GroupMovedOn(f"{token.member} is not a member of the group")
        if known.generation != token.generation:
            raise GroupMovedOn(f"{token.member} is of generation {known.generation}, not {token.generation}")
        self._pending[transaction] = {**self._pending.get(transaction, {}), **offsets}

    def finish(self, transaction: int, *, committed: bool) -> None:
        offsets = self._pending.pop(transaction, {})
        if committed:
            self._committed.update(offsets)

    def _complete(self) -> None:
        self._is_rebalancing = False
        self._generation += 1
        targets = balanced({name: member.owned for name, member in self._members.items()}, self._partitions)
        for name, member in self._members.items():
            owned_by_others = {
                partition for other in self._members.values() if other is not member for partition in other.owned
            }
            member.assignment = targets[name] - owned_by_others
            member.generation = self._generation
            member.has_joined = False


def balanced(owned: Mapping[str, frozenset[int]], partitions: int) -> dict[str, frozenset[int]]:
    """Every partition once, the numbers per member at most one apart, as few moved as that allows."""
    share, larger = divmod(partitions, len(owned))
    # Whoever holds most keeps a larger share, or a partition would move for nothing.
    ranked = sorted(owned, key=lambda name: -len(owned[name]))
    shares = {name: share + (rank < larger) for rank, name in enumerate(ranked)}
    kept = {name: sorted(owned[name])[: shares[name]] for name in ranked}
    free = iter(sorted(set(range(partitions)).difference(*kept.values())))
    return {
        name: frozenset([*kept[name], *(next(free) for _ in range(shares[name] - len(kept[name])))]) for name in owned
    }
