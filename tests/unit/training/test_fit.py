"""Scores are as often right as they say: the head's share is put right, and that of the nearest examples is theirs."""

import pytest
import torch
from torch import Tensor

from stream_worker.inference.nearest import Balance, intent_scores
from stream_worker.training.fit import Logits, fit_balance


def _drawn(truth: Tensor, *, several: bool = False) -> Tensor:
    """What was wanted, where `truth` says how likely each is."""
    generator = torch.Generator().manual_seed(7)
    if several:
        return torch.bernoulli(truth, generator=generator)
    return torch.eye(truth.shape[1])[torch.multinomial(truth, 1, generator=generator).squeeze(1)]


def _logits() -> Tensor:
    return torch.randn(4_000, 4, generator=torch.Generator().manual_seed(8))


def _fitted(logits: Tensor, voices: Tensor, wanted: Tensor, *, several: bool = False) -> Balance:
    return fit_balance(Logits(list(range(len(logits))), logits, voices, wanted), several=several)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("overdone", [0.5, 3.0])
def test_the_temperature_undoes_what_was_overdone(several: bool, overdone: float) -> None:
    truth = _logits().sigmoid() if several else _logits().softmax(1)
    balance = _fitted(_logits() * overdone, truth, _drawn(truth, several=several), several=several)
    assert balance.temperature == pytest.approx(overdone, rel=0.15)


def test_the_nearest_examples_have_a_voice_as_far_as_they_are_right() -> None:
    truth, noise = _logits().softmax(1), torch.eye(4)[torch.arange(4_000) % 4]
    wanted = _drawn(truth)
    assert _fitted(_logits(), noise, wanted).voice < 0.05
    assert _fitted(torch.zeros(4_000, 4), truth, wanted).voice > 0.4


def test_scores_are_as_often_right_as_they_say_whatever_both_say() -> None:
    truth = _logits().softmax(1)
    wanted, voices = _drawn(truth), torch.eye(4)[truth.argmax(1)]
    balance = _fitted(_logits() * 2, voices, wanted)
    best = intent_scores(_logits() * 2, voices, balance, several=False).max(1)
    right = wanted.gather(1, best.indices.unsqueeze(1)).mean()
    assert float(best.values.mean()) == pytest.approx(float(right), abs=0.02)


def test_without_anything_judged_both_are_as_usual() -> None:
    nothing = torch.zeros(0, 2)
    balance = _fitted(nothing, nothing, nothing)
    assert balance.temperature == pytest.approx(1.0)
    assert balance.voice == pytest.approx(0.2, abs=0.01)
