"""However many conversations there are, and however large: what is kept decoded stays within its bytes."""

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.conversation.recent_states import RecentStates
from stream_worker.conversation.state import ConversationState

_MOST = 5_000


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 2_000)), max_size=60))
def test_the_latest_are_kept_within_their_bytes(uses: list[tuple[int, int, int]]) -> None:
    recent = RecentStates(_MOST)
    latest: dict[tuple[int, str], ConversationState] = {}
    for number, (owner, conversation, size) in enumerate(uses):
        name = (owner, f"c-{conversation}")
        latest.pop(name, None)
        latest[name] = ConversationState(turns=number)
        recent.keep(*name, latest[name], size)
    sizes = {(owner, f"c-{conversation}"): size for owner, conversation, size in uses}
    kept = {name for name in latest if recent.get(*name) is not None}
    assert all(recent.get(*name) == latest[name] for name in kept)
    assert len(recent) == len(kept)
    assert sum(sizes[name] for name in kept) <= _MOST
    newest_first = list(reversed(latest))
    assert set(newest_first[: len(kept)]) == kept, "who was kept last stays"


def test_a_partition_taken_again_sees_nothing_of_its_former_holder() -> None:
    recent = RecentStates()
    before, after = recent.owner(), recent.owner()
    recent.keep(before, "c-1", ConversationState(turns=3), 100)
    assert recent.get(after, "c-1") is None
