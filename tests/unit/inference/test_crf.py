"""The chain against all paths, one by one."""

from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stream_worker.inference.crf import Chain, best_paths, marginals, negative_log_likelihood, padded

_LABELS = 3


def _made(seed: int, lengths: list[int]) -> tuple[list[Tensor], Chain]:
    generator = torch.Generator().manual_seed(seed)
    scores = [torch.randn(length, _LABELS, generator=generator) for length in lengths]
    return scores, Chain(*(torch.randn(size, generator=generator) for size in ((_LABELS, _LABELS), _LABELS, _LABELS)))


def _total(scores: Tensor, path: tuple[int, ...], chain: Chain) -> Tensor:
    total = chain.first[path[0]] + chain.last[path[-1]] + sum(scores[at, label] for at, label in enumerate(path))
    return total + sum(chain.steps[before, after] for before, after in pairwise(path))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_the_chain_agrees_with_all_paths_together(seed: int, lengths: list[int]) -> None:
    texts, chain = _made(seed, lengths)
    scores, there = padded(torch.cat(texts), lengths)
    wanted = torch.zeros(scores.shape[:2], dtype=torch.long)
    losses = negative_log_likelihood(scores, there, wanted, chain)
    paths, likely = best_paths(scores, there, chain), marginals(scores, there, chain)
    for row, text in enumerate(texts):
        every = list(product(range(_LABELS), repeat=len(text)))
        totals = torch.stack([_total(text, path, chain) for path in every])
        assert tuple(paths[row, : len(text)].tolist()) == every[int(totals.argmax())]
        loss = totals.logsumexp(0) - _total(text, (0,) * len(text), chain)
        assert float(losses[row]) == pytest.approx(float(loss), abs=1e-4)
        shares = totals.softmax(0)
        for at in range(len(text)):
            share = sum(float(shares[number]) for number, path in enumerate(every) if path[at] == 1)
            assert float(likely[row, at, 1]) == pytest.approx(share, abs=1e-4)
