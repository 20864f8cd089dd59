"""The nearest examples: they are the nearest, their voices are shares, and they weigh in where the head is unsure."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.inference.nearest import Balance, intent_scores, nearest


def _directions(count: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


@given(texts=st.integers(1, 4), examples=st.integers(1, 12), seed=st.integers(0, 1000), several=st.booleans())
def test_voices_are_shares_of_the_examples_most_alike(texts: int, examples: int, seed: int, several: bool) -> None:
    vectors, known = _directions(texts, seed), _directions(examples, seed + 1)
    intents = torch.eye(3, dtype=torch.uint8)[torch.arange(examples) % 3]
    near = nearest(vectors, known)
    for row, vector in enumerate(vectors):
        cosines = [float(vector @ one) for one in known]
        best = sorted(range(examples), key=lambda at: -cosines[at])[: len(near.examples[row])]
        assert near.likeness[row].tolist() == pytest.approx([cosines[at] for at in best], abs=1e-5)
    assert near.examples.shape == (texts, min(5, examples))
    voices = near.voices(intents)
    assert voices.sum(1).tolist() == pytest.approx([1.0] * texts, abs=1e-5)
    scores = intent_scores(_directions(texts, seed)[:, :3] * 4, voices, Balance(0.7, 0.3), several=several)
    assert bool(((scores >= 0) & (scores <= 1)).all())
    if not several:
        assert scores.sum(1).tolist() == pytest.approx([1.0] * texts, abs=1e-5)


def test_where_the_head_is_unsure_the_nearest_examples_decide() -> None:
    known = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    intents = torch.tensor([[1, 0], [0, 1], [0, 1]], dtype=torch.uint8)
    voices = nearest(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), known).voices(intents)
    unsure = intent_scores(torch.zeros(2, 2), voices, Balance(1.0, 0.2), several=False)
    assert unsure.argmax(1).tolist() == [0, 1]
    sure = intent_scores(torch.tensor([[0.0, 9.0], [9.0, 0.0]]), voices, Balance(1.0, 0.2), several=False)
    assert sure.argmax(1).tolist() == [1, 0]


def test_an_example_may_speak_for_several_intents() -> None:
    voices = nearest(torch.eye(2)[:1], torch.eye(2)[:1]).voices(torch.tensor([[1, 1, 0]], dtype=torch.uint8))
    assert voices.tolist() == [[1.0, 1.0, 0.0]]
