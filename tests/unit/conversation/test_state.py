"""Conversation state: a value that changes by changes, within its bounds, and loads again."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.contracts.decode import identity
from stream_worker.conversation.deduplication import digest, remember, remembers
from stream_worker.conversation.dialogue import NEW, Dialogue, Frame, Question, QuestionKind
from stream_worker.conversation.state import (
    EMPTY,
    MAX_DIALOGUES,
    STATE_FORMAT,
    Bounds,
    Change,
    ConversationState,
    Dialogued,
    Ended,
    Erased,
    HeldBy,
    Holder,
    Line,
    Prompted,
    Remembered,
    Rewritten,
    Said,
    Speaker,
    apply,
    erased_at,
    fit,
    load_state,
)
from stream_worker.errors import Fatal, StateUnreadable
from stream_worker.tokens import StoredPrompt

_OLD = Path(__file__).parents[2] / "data"
_BOUNDS = Bounds(max_messages=6, dedup_window=3)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_LINES = st.builds(Line, st.sampled_from(Speaker), _TEXT, _TEXT, st.integers(0, 2**50))
_STORED = st.builds(
    StoredPrompt, hash=_TEXT, ids=st.lists(st.integers(0, 2**20), max_size=5).map(tuple), covers=st.integers(0, 9)
)
_DIALOGUES = st.builds(
    Dialogue,
    frames=st.lists(st.builds(Frame, _TEXT, st.dictionaries(_TEXT, _TEXT, max_size=2)), max_size=2).map(tuple),
    question=st.none()
    | st.builds(Question, kind=st.sampled_from(QuestionKind), intent=_TEXT, options=st.tuples(_TEXT, _TEXT)),
    recent=st.lists(st.tuples(_TEXT, _TEXT), max_size=2).map(tuple),
    offers=st.dictionaries(_TEXT, st.lists(_TEXT, max_size=2).map(tuple), max_size=2),
    fallbacks=st.integers(0, 9),
    at=st.integers(0, 2**50),
)
_CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(Said, st.lists(_LINES, max_size=3).map(tuple)),
    st.builds(Dialogued, st.sampled_from(["u-1", "u-2"]), _DIALOGUES),
    st.builds(Prompted, st.none() | _STORED, st.integers(0, 3)),
    st.builds(HeldBy, st.sampled_from(Holder), st.integers(0, 2**50)),
    st.builds(Remembered, st.lists(_TEXT.map(lambda text: digest(identity("c", "", text))), max_size=3).map(tuple)),
    st.builds(Rewritten, _TEXT, st.none() | _TEXT),
    st.just(Ended()),
    st.builds(Erased, st.integers(1, 1_000)),
)


@given(st.lists(_CHANGES, max_size=12))
def test_a_state_loads_as_it_was_dumped(changes: list[Change]) -> None:
    state = apply(EMPTY, changes, _BOUNDS)
    assert load_state(state.dump()) == state


@given(st.lists(_CHANGES, max_size=12), st.integers(0, 12))
def test_changes_may_be_applied_together_or_one_after_the_other(changes: list[Change], cut: int) -> None:
    bounds = Bounds(max_messages=1_000, dedup_window=3)
    together = apply(EMPTY, changes, bounds)
    assert apply(apply(EMPTY, changes[:cut], bounds), changes[cut:], bounds) == together


@given(st.lists(_CHANGES, max_size=12))
def test_erasure_leaves_nothing_but_digests(changes: list[Change]) -> None:
    state = apply(EMPTY, [*changes, Erased(5)], _BOUNDS)
    assert state == ConversationState(erased_at=5, remembered=state.remembered)
    assert erased_at(state.dump()) == 5


@given(st.lists(_CHANGES, max_size=12))
def test_an_encoded_state_tells_when_it_was_erased(changes: list[Change]) -> None:
    state = apply(EMPTY, changes, _BOUNDS)
    assert erased_at(state.dump()) == state.erased_at
    if state.history or state.dialogues:
        assert not state.erased_at


def test_an_edit_puts_no_words_into_the_bots_mouth() -> None:
    said = (Line(Speaker.USER, "hello", "m-1", 1), Line(Speaker.BOT, "Hi.", "r-1", 2))
    state = apply(EMPTY, [Said(said), Rewritten("r-1", "I owe you money."), Rewritten("m-1", "hi")], _BOUNDS)
    assert [line.text for line in state.history] == ["hi", "Hi."]
    assert [line.text for line in apply(state, [Rewritten("r-1", None)], _BOUNDS).history] == ["hi"]


@given(st.lists(_CHANGES, max_size=12))
def test_history_stays_within_its_bound_and_loses_the_oldest(changes: list[Change]) -> None:
    state = apply(EMPTY, changes, _BOUNDS)
    unbounded = apply(EMPTY, changes, Bounds(max_messages=1_000, dedup_window=3))
    assert len(state.history) <= 6
    assert state.history == unbounded.history[len(unbounded.history) - len(state.history) :]


@given(st.lists(_CHANGES, min_size=4, max_size=20), st.integers(300, 900))
def test_a_state_is_cut_to_its_bytes(changes: list[Change], limit: int) -> None:
    state = apply(EMPTY, changes, Bounds(max_messages=1_000, dedup_window=3))
    cut = fit(state, limit)
    assert len(cut.dump()) <= limit
    assert cut.remembered == state.remembered
    assert cut.holder == state.holder
    if cut.history:
        assert state.history[-len(cut.history) :] == cut.history


def test_cutting_drops_the_ids_before_the_text() -> None:
    line = Line(Speaker.USER, "hello", "m-1", 1)
    stored = StoredPrompt(hash="h", ids=tuple(range(1000)), covers=1)
    state = apply(EMPTY, [Said((line,)), Prompted(stored, 0)], _BOUNDS)
    assert fit(state, 1_000) == apply(EMPTY, [Said((line,))], _BOUNDS)


def test_rewriting_an_old_line_voids_the_stored_ids() -> None:
    line = Line(Speaker.USER, "hello", "m-1", 1)
    stored = StoredPrompt(hash="h", ids=(1,), covers=1)
    state = apply(EMPTY, [Said((line,)), Prompted(stored, 0), Rewritten("m-1", "bye")], _BOUNDS)
    assert state.history[0].text == "bye"
    assert state.prompt is None


def test_a_state_of_an_older_format_loads_with_what_it_knew() -> None:
    state = load_state((_OLD / "state-1.json").read_bytes())
    assert state.format == STATE_FORMAT
    assert state.dialogue("u-1").active == Frame("weather", {"location": "Beijing"})
    assert [line.text for line in state.history] == ["What's the weather in Beijing?", "Sunny.", "I can help."]
    assert (state.holder, state.turns, state.prompt) == (
        Holder.HUMAN,
        1,
        StoredPrompt(hash="h", ids=(1, 2, 3), covers=2),
    )
    assert load_state(state.dump()) == state
    answered = apply(state, [Dialogued("u-1", NEW)], _BOUNDS)
    assert answered.dialogue("u-2") == NEW, "what was known belongs to the first who spoke"


def test_dialogues_are_kept_by_sender_and_bounded() -> None:
    state = apply(EMPTY, [Dialogued(f"u-{n}", Dialogue(at=n)) for n in range(MAX_DIALOGUES + 5)], _BOUNDS)
    assert len(state.dialogues) == MAX_DIALOGUES
    assert state.dialogue("u-4") == NEW
    assert state.dialogue("u-5").at == 5


def test_a_newer_format_asks_for_an_upgrade() -> None:
    with pytest.raises(Fatal, match="upgrade this worker"):
        load_state(orjson.dumps({"format": 99}))


@given(st.binary(max_size=60))
def test_bytes_that_are_no_state_are_called_unreadable(raw: bytes) -> None:
    with pytest.raises(StateUnreadable):
        load_state(raw)


@given(st.lists(st.text(max_size=5), max_size=30), st.integers(0, 8))
def test_the_window_remembers_the_last_ids_and_no_others(ids: list[str], size: int) -> None:
    digests = [digest(identity("c", "s", each)) for each in ids]
    window = ""
    for each in digests:
        window = remember(window, [each], size)
    kept = digests[len(digests) - size :] if size < len(digests) else digests
    for each in digests:
        assert remembers(window, each) == (each in kept)


def test_the_same_id_of_two_sources_differs() -> None:
    assert digest(identity("c", "a", "1")) != digest(identity("c", "b", "1"))


def test_what_an_earlier_version_offered_is_still_known() -> None:
    state = apply(EMPTY, [Dialogued("u-1", Dialogue(at=1))], _BOUNDS)
    fields = orjson.loads(state.dump())
    del fields["dialogues"]["u-1"]["offers"]
    fields["dialogues"]["u-1"]["offered"] = ["hotel", ["Ibis", "Ritz"]]
    assert load_state(orjson.dumps(fields)).dialogue("u-1").offers == {"hotel": ("Ibis", "Ritz")}
