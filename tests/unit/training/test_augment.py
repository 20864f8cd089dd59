"""Copies with other slot values keep the sentence and mark the new values."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from stream_worker.training.augment import copies
from stream_worker.training.examples import Example, Examples, MarkedSlot

_WORDS = st.text(st.characters(categories=["Ll", "Lo"]), min_size=1, max_size=6)


@given(st.lists(_WORDS, min_size=1, max_size=5), st.lists(_WORDS, max_size=5), st.integers(0, 9))
def test_copies_keep_the_sentence_and_mark_known_values(words: list[str], lookup: list[str], seed: int) -> None:
    text, slots = "", []
    for word in words:
        text += "<"
        slots.append(MarkedSlot("x", len(text), len(text) + len(word), "from"))
        text += word + ">"
    examples = Examples((Example(text, ("a",), tuple(slots)), Example("plain", ("a",))), {}, {"x": tuple(lookup)})
    results = copies(examples, Random(seed))
    assert len(results) == 4
    known = {value for word in [*words, *lookup] for value in (word, word.lower())}
    for result in results:
        values = [result.text[slot.start : slot.end] for slot in result.slots]
        assert result.text == "".join(f"<{value}>" for value in values)
        assert set(values) <= known
        assert [value.isascii() for value in values] == [word.isascii() for word in words]
        assert (result.place, {slot.role for slot in result.slots}) == ("0", {"from"})


def test_of_many_examples_few_copies_are_made() -> None:
    many = tuple(Example("in rome", ("a",), (MarkedSlot("x", 3, 7),)) for _ in range(3_000))
    assert len(copies(Examples(many), Random(0))) == 6_000
