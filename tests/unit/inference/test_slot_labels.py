"""Slots survive being labels of words."""

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.inference.slot_labels import SlotKind, kind_of, label_names, labelled_words, may_follow, word_labels
from stream_worker.inference.words import Word

_KINDS = st.builds(SlotKind, st.sampled_from("ab"), st.sampled_from([None, "from"]), st.sampled_from([None, "1"]))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), _KINDS), max_size=4))
def test_slots_survive_labels(layout: list[tuple[int, int, SlotKind]]) -> None:
    slots, at = [], 0
    for gap, length, kind in layout:
        slots.append((kind, at + gap, at + gap + length))
        at += gap + length
    words = [Word(2 * number, 2 * number + 1, number, number + 1) for number in range(at + 1)]
    labels = word_labels(words, [(kind, 2 * first, 2 * last - 1) for kind, first, last in slots])
    assert labelled_words(labels) == slots
    assert all(may_follow(before, after) for before, after in zip(["O", *labels], labels, strict=False))


@given(_KINDS)
def test_a_label_says_name_role_and_group(kind: SlotKind) -> None:
    outside, begins, goes_on = label_names([kind])
    assert (outside, kind_of(begins), kind_of(goes_on)) == ("O", kind, kind)
    assert may_follow(begins, goes_on)
    assert may_follow(begins, begins)
    assert not may_follow(outside, goes_on)
