"""Slots: spans survive labels, and the path found is the best of all valid ones."""

from itertools import product

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stream_worker.inference.slot_labels import Found, find_slots, label_names, token_labels

_LABELS = label_names(["a", "b"])


def _certain(labels: list[str]) -> Tensor:
    scores = torch.full((len(labels), len(_LABELS)), -20.0)
    for row, label in enumerate(labels):
        scores[row, _LABELS.index(label)] = 0.0
    return scores


def _words(count: int, width: int = 2) -> tuple[str, list[tuple[int, int]]]:
    """Words with a space between them, and their spans."""
    return " ".join(["w" * width] * count), [(at * (width + 1), at * (width + 1) + width) for at in range(count)]


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 3), st.sampled_from("ab")), max_size=4))
def test_spans_survive_labels(layout: list[tuple[int, int, str]]) -> None:
    marked, at = [], 0
    for gap, length, name in layout:
        first, last = at + gap, at + gap + length - 1
        marked.append((name, first * 3, last * 3 + 2))
        at = last + 1
    text, spans = _words(at + 1)
    labels = token_labels(spans, marked)
    assert [
        (found.name, found.start, found.end) for found in find_slots(text, spans, _certain(labels), _LABELS)
    ] == marked


@given(st.lists(st.lists(st.floats(-5, 5), min_size=5, max_size=5), min_size=1, max_size=4))
def test_no_valid_path_is_better_than_the_one_found(rows: list[list[float]]) -> None:
    text, spans = _words(len(rows))
    scores = torch.tensor(rows).log_softmax(-1)
    found = token_labels(
        spans, [(slot.name, slot.start, slot.end) for slot in find_slots(text, spans, scores, _LABELS)]
    )
    best = max(_total(scores, path) for path in product(_LABELS, repeat=len(rows)) if _valid(path))
    assert _valid(tuple(found))
    assert _total(scores, tuple(found)) >= best - 1e-4


def _total(scores: Tensor, path: tuple[str, ...]) -> float:
    return sum(float(scores[row, _LABELS.index(label)]) for row, label in enumerate(path))


def _valid(path: tuple[str, ...]) -> bool:
    for before, label in zip(("O", *path), path, strict=False):
        same_slot = before != "O" and before[2:] == label[2:]
        if label.startswith("I-") and not same_slot:
            return False
        if label.startswith("B-") and same_slot:
            return False
    return True


def test_a_word_in_pieces_is_never_cut() -> None:
    scores = _certain(["B-a", "O"])
    scores[1, _LABELS.index("I-a")] = -5.0
    assert find_slots("Reykjavik", [(0, 4), (4, 9)], scores, _LABELS)[0].end == 9
    # Where words stand without a space each character may begin or end a slot.
    assert find_slots("北京", [(0, 1), (1, 2)], scores, _LABELS)[0].end == 1


def test_the_space_that_a_tokenizer_counts_to_a_word_is_no_part_of_a_slot() -> None:
    found = find_slots("in Rome", [(0, 2), (2, 7)], _certain(["O", "B-a"]), _LABELS)
    assert found == [Found("a", 3, 7, found[0].score)]
    assert find_slots("", [], torch.zeros(0, len(_LABELS)), _LABELS) == []
