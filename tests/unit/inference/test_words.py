"""Words: whole however they were cut, in order, and single characters where a script has no spaces."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.inference.words import is_unspaced, words

_TEXTS = st.text(st.sampled_from("ab1 .上海はก한é🎉"), max_size=12)


@st.composite
def _cut(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]]]:
    """A text and the spans of tokens that cover all of it."""
    text = draw(_TEXTS)
    cuts = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text))))})
    return text, list(pairwise(cuts))


@given(_cut())
def test_words_stand_in_order_and_hold_all_but_space(cut: tuple[str, list[tuple[int, int]]]) -> None:
    text, spans = cut
    found = words(text, spans)
    assert all(one.end <= other.start for one, other in pairwise(found))
    held = [at for word in found for at in range(word.start, word.end)]
    assert [text[at] for at in held if not text[at].isspace()] == [letter for letter in text if not letter.isspace()]
    for word in found:
        assert 0 <= word.first < word.last <= len(spans)
        assert spans[word.first][0] <= word.start
        assert word.end <= spans[word.last - 1][1]
        if word.end - word.start > 1:
            assert not any(is_unspaced(character) for character in text[word.start : word.end])


@pytest.mark.parametrize(
    ("text", "spans", "expected"),
    [
        ("Reykjavik", [(0, 4), (4, 9)], ["Reykjavik"]),
        ("in Rome", [(0, 2), (2, 7)], ["in", "Rome"]),
        ("今天北京", [(0, 3), (3, 4)], ["今", "天", "北", "京"]),
        ("20kg", [(0, 2), (2, 4)], ["20", "kg"]),
        ("don't", [(0, 3), (3, 4), (4, 5)], ["don", "'", "t"]),
        ("🎉", [(0, 1), (0, 1), (0, 1)], ["🎉"]),
        ("สวัสดี", [(0, 6)], list("สวัสดี")),
    ],
)
def test_words_of(text: str, spans: list[tuple[int, int]], expected: list[str]) -> None:
    assert [text[word.start : word.end] for word in words(text, spans)] == expected
