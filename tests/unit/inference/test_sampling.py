"""What sampling may choose, and what it depends on."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stream_worker.inference.sampling import Sampler, candidates
from stream_worker.tokens import Sampling

logits = arrays.arrays(np.float32, st.integers(2, 40), elements=st.floats(-20, 20, width=32))
samplings = st.builds(
    Sampling,
    temperature=st.floats(0.1, 3),
    top_k=st.integers(0, 10),
    top_p=st.floats(0.05, 1),
    min_p=st.floats(0, 1),
    repetition_penalty=st.floats(0.5, 2),
)


@given(logits, samplings, st.integers(0, 2**63))
def test_the_same_seed_and_logits_give_the_same_tokens(row: np.ndarray, sampling: Sampling, seed: int) -> None:
    one, two = Sampler(sampling, seed, [0]), Sampler(sampling, seed, [0])
    assert [one.choose(row) for _ in range(5)] == [two.choose(row) for _ in range(5)]


@given(logits, samplings)
def test_candidates_keep_what_the_settings_say(row: np.ndarray, sampling: Sampling) -> None:
    ids, probabilities = candidates(row, sampling)
    weights = np.exp(row.astype(np.float64) / sampling.temperature)
    assert ids[0] == row.argmax()
    assert len(ids) <= (sampling.top_k or len(row))
    assert np.isclose(probabilities.sum(), 1)
    assert (probabilities >= sampling.min_p * probabilities[0] * (1 - 1e-9)).all()
    allowed = np.sort(weights)[::-1][: sampling.top_k or len(row)]
    # Without its last candidate the rest does not reach the share yet.
    assert weights[ids[:-1]].sum() / allowed.sum() < sampling.top_p + 1e-9


@given(logits)
def test_temperature_zero_takes_the_likeliest(row: np.ndarray) -> None:
    sampler = Sampler(Sampling(), 1, [])
    assert sampler.takes_argmax
    assert sampler.choose(row) == row.argmax()


def test_draws_follow_the_probabilities() -> None:
    sampler = Sampler(Sampling(temperature=1.0), 3, [])
    row = np.log(np.array([0.5, 0.3, 0.2], dtype=np.float32))
    counts = np.bincount([sampler.choose(row) for _ in range(4_000)], minlength=3) / 4_000
    assert np.abs(counts - [0.5, 0.3, 0.2]).max() < 0.03


def test_the_repetition_penalty_counts_the_prompt_and_what_was_said() -> None:
    sampler = Sampler(Sampling(repetition_penalty=2.0), 0, [0])
    row = np.array([3.0, 2.0, 1.2], dtype=np.float32)
    assert [sampler.choose(row) for _ in range(3)] == [1, 0, 0]
