"""What sampling may choose, held against an obvious reference, and what it depends on."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stream_worker.inference.sampling import Logits, Sampler, candidates
from stream_worker.tokens import Sampling

# Wider than some blocks of the search for the highest; few values, so that there are ties.
rows = st.one_of(
    arrays.arrays(np.float32, st.integers(2, 40), elements=st.floats(-20, 20, width=32)),
    arrays.arrays(np.float32, st.integers(500, 1_600), elements=st.sampled_from([-np.inf, -9, -1, 0, 0.5, 4, 11])),
)
samplings = st.builds(
    Sampling,
    temperature=st.floats(0.1, 3),
    top_k=st.integers(0, 10) | st.integers(500, 600),
    top_p=st.floats(0.05, 1) | st.just(1.0),
    min_p=st.floats(0, 1) | st.just(0.0),
)


def obvious(row: Logits, sampling: Sampling) -> dict[int, float]:
    """Probabilities by sorting all of it: the textbook's definition."""
    order = np.argsort(-row, kind="stable")
    order = order[row[order] > -np.inf][: sampling.top_k or len(row)]
    weights = np.exp((row[order].astype(np.float64) - row.max()) / sampling.temperature)
    probabilities = weights / weights.sum()
    kept: dict[int, float] = {}
    for token, probability in zip(order, probabilities, strict=True):
        if sampling.top_p < 1 and kept and sum(kept.values()) >= sampling.top_p:
            break
        kept[int(token)] = float(probability)
    highest = max(kept.values())
    kept = {token: each for token, each in kept.items() if each >= sampling.min_p * highest}
    return {token: each / sum(kept.values()) for token, each in kept.items()}


@given(rows.filter(lambda row: np.isfinite(row).any()), samplings)
@example(np.arange(0, 8, 0.01, dtype=np.float32), Sampling(temperature=1.0, top_k=3))
def test_candidates_are_those_of_the_textbook(row: Logits, sampling: Sampling) -> None:
    found = dict(zip(*(each.tolist() for each in candidates(row, sampling)), strict=True))
    expected = obvious(row, sampling)
    # Where rounding decides whether one more belongs to the share, either is right.
    differing = found.keys() ^ expected.keys()
    assert len(differing) <= 1 or (sampling.top_p < 1 and _is_tie(row, differing))
    if not differing:
        assert found == pytest.approx(expected, rel=1e-4)
    assert sum(found.values()) == pytest.approx(1)


def _is_tie(row: Logits, tokens: set[int]) -> bool:
    return len({float(row[token]) for token in tokens}) == 1


@given(rows.filter(lambda row: np.isfinite(row).any()), samplings, st.integers(0, 2**63))
def test_the_same_seed_and_logits_give_the_same_tokens(row: Logits, sampling: Sampling, seed: int) -> None:
    one, two = Sampler(sampling, seed, [0]), Sampler(sampling, seed, [0])
    assert [one.choose(row) for _ in range(5)] == [two.choose(row) for _ in range(5)]


@given(rows.filter(lambda row: np.isfinite(row).any()))
def test_temperature_zero_takes_the_likeliest(row: Logits) -> None:
    sampler = Sampler(Sampling(), 1, [])
    assert sampler.takes_argmax
    assert sampler.choose(row) == row.argmax()


@pytest.mark.parametrize("sampling", [Sampling(temperature=1.0), Sampling(temperature=1.0, top_p=0.999, top_k=3)])
def test_draws_follow_the_probabilities(sampling: Sampling) -> None:
    sampler = Sampler(sampling, 3, [])
    row = np.log(np.array([0.3, 0.2, 0.5], dtype=np.float32))
    counts = np.bincount([sampler.choose(row) for _ in range(4_000)], minlength=3) / 4_000
    assert np.abs(counts - [0.3, 0.2, 0.5]).max() < 0.03


def test_the_repetition_penalty_counts_the_prompt_and_what_was_said() -> None:
    sampler = Sampler(Sampling(repetition_penalty=2.0), 0, [0])
    row = np.array([3.0, 2.0, 1.2], dtype=np.float32)
    assert [sampler.choose(row) for _ in range(3)] == [1, 0, 0]
    assert row.tolist() == pytest.approx([3.0, 2.0, 1.2])  # the engine's own row is not touched


def test_a_bias_forbids_and_forces() -> None:
    row = np.array([3.0, 2.0, 1.2], dtype=np.float32)
    assert Sampler(Sampling(logit_bias=((0, -100.0),)), 0, []).choose(row) == 1
    assert Sampler(Sampling(logit_bias=((2, 100.0),), temperature=1.0), 0, []).choose(row) == 2


@given(rows.filter(lambda row: np.isfinite(row).all()), st.integers(0, 1))
def test_log_probabilities_are_the_models_own_whatever_was_changed(row: Logits, token: int) -> None:
    sampler = Sampler(Sampling(log_probabilities=True, logit_bias=((token, 100.0),), temperature=0.3), 0, [])
    assert not sampler.takes_argmax
    sampler.choose(row)
    exact = row.astype(np.float64)[token] - np.log(np.exp(row.astype(np.float64)).sum())
    assert sampler.log_probabilities == [pytest.approx(exact, abs=1e-3)]
