"""The group's coordinator under members that come, go and fall silent in any order."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stream_worker.embedded.memory_group import MemoryGroup, balanced

_SESSION_S = 10.0


@st.composite
def ownerships(draw: st.DrawFn) -> tuple[dict[str, frozenset[int]], int]:
    """Members, and who owns which of the partitions; some are nobody's."""
    names = [f"member-{number}" for number in range(draw(st.integers(1, 6)))]
    owners = draw(st.lists(st.sampled_from([None, *names]), max_size=20))
    owned = {name: frozenset(p for p, owner in enumerate(owners) if owner == name) for name in names}
    return owned, len(owners)


@given(ownerships())
def test_partitions_are_shared_evenly_and_as_few_as_possible_move(case: tuple[dict[str, frozenset[int]], int]) -> None:
    owned, partitions = case
    targets = balanced(owned, partitions)
    assert sorted(partition for target in targets.values() for partition in target) == list(range(partitions))
    sizes = sorted(len(target) for target in targets.values())
    assert sizes[-1] - sizes[0] <= 1
    stay = sum(len(targets[name] & owned[name]) for name in owned)
    share, larger = divmod(partitions, len(owned))
    # The most that can stay: everyone keeps up to a share, and the largest owners one more.
    held = sorted((len(each) for each in owned.values()), reverse=True)
    assert stay == sum(min(count, share + (rank < larger)) for rank, count in enumerate(held))


class GroupMachine(RuleBasedStateMachine):
    """Members that change over as clients do: revoke, ask again, then take what is new."""

    @initialize(partitions=st.integers(1, 7), members=st.integers(1, 3))
    def begin(self, partitions: int, members: int) -> None:
        self.partitions = partitions
        self.group = MemoryGroup(partitions)
        self.now_s = 0.0
        self.owned: dict[str, frozenset[int]] = {}
        for _ in range(members):
            self.join()

    @rule()
    def join(self) -> None:
        self.owned[self.group.join(self.now_s, _SESSION_S)] = frozenset()

    @rule(choices=st.lists(st.integers(0, 3), min_size=1, max_size=8))
    def poll(self, choices: list[int]) -> None:
        """In any order, and not everyone equally often."""
        names = sorted(self.owned)
        for choice in choices:
            if choice < len(names):
                self._poll(names[choice])
                self.nobody_owns_what_another_owns()

    @rule(choice=st.integers(0, 3))
    def leave(self, choice: int) -> None:
        for name in sorted(self.owned)[choice : choice + 1]:
            self.group.leave(name)
            del self.owned[name]

    @rule(seconds=st.floats(0.0, 8.0))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.group.expire(self.now_s)
        self.owned = {name: owned for name, owned in self.owned.items() if self.group.knows(name)}

    @rule()
    def settle(self) -> None:
        """When everyone goes on polling, soon all is shared and nothing moves any more."""
        for _ in range(6):
            for name in sorted(self.owned):
                self._poll(name)
        everything = sorted(partition for owned in self.owned.values() for partition in owned)
        assert everything == (list(range(self.partitions)) if self.owned else [])
        sizes = [len(owned) for owned in self.owned.values()]
        assert max(sizes, default=0) - min(sizes, default=0) <= 1
        assert all(self.group.poll(name, owned, self.now_s) is None for name, owned in self.owned.items())
        assert len({self.group.generation_of(name) for name in self.owned}) <= 1

    @invariant()
    def nobody_owns_what_another_owns(self) -> None:
        everything = [partition for owned in self.owned.values() for partition in owned]
        assert len(everything) == len(set(everything))

    def _poll(self, name: str) -> None:
        before = self.owned[name]
        assignment = self.group.poll(name, before, self.now_s)
        if assignment is None:
            return
        self.owned[name] = assignment
        if before - assignment:
            self.group.rejoin(name)


TestGroupMachine = GroupMachine.TestCase
TestGroupMachine.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
