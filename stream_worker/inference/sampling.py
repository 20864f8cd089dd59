"""Chooses the next token from one row of logits. NumPy on the CPU, one row at a time.

What always holds: the choice depends on the row, the request's sampling and
seed, and the ids before it; never on what else is in the batch.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream_worker.tokens import Sampling

Logits = NDArray[np.float32]


class Sampler:
    """One request's choices. The n-th choice uses the n-th number of the seed's own stream."""

    def __init__(self, sampling: Sampling, seed: int, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._random = np.random.Generator(np.random.Philox(key=seed & (2**64 - 1)))
        self._seen = set(prompt)

    @property
    def takes_argmax(self) -> bool:
        """Whether the choice is the likeliest token and nothing else, so that a whole batch can be chosen at once."""
        return self._sampling.temperature == 0 and self._sampling.repetition_penalty == 1

    def choose(self, logits: Logits) -> int:
        """The next id. `logits`: float32 [vocabulary]."""
        sampling = self._sampling
        if sampling.repetition_penalty != 1:
            logits = _penalize(logits, self._seen, sampling.repetition_penalty)
        token = int(logits.argmax()) if sampling.temperature == 0 else self._draw(logits)
        self._seen.add(token)
        return token

    def _draw(self, logits: Logits) -> int:
        ids, probabilities = candidates(logits, self._sampling)
        # Inverse of the distribution function: one number per token, however many candidates there are.
        cumulated = np.cumsum(probabilities)
        at = int(np.searchsorted(cumulated, self._random.random() * cumulated[-1], side="right"))
        return int(ids[min(at, len(ids) - 1)])


def candidates(logits: Logits, sampling: Sampling) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What may be drawn, likeliest first, with its probability: temperature, then top-k, top-p and min-p."""
    order = np.argsort(-logits, kind="stable")
    if 0 < sampling.top_k < len(order):
        order = order[: sampling.top_k]
    scaled = logits[order].astype(np.float64) / sampling.temperature
    weights = np.exp(scaled - scaled[0])
    probabilities = weights / weights.sum()
    if sampling.top_p < 1:
        # A token stays while those before it have not reached the share: the likeliest always stays.
        before = np.cumsum(probabilities) - probabilities
        kept = int(np.count_nonzero(before < sampling.top_p))
        order, probabilities = order[:kept], probabilities[:kept]
    if sampling.min_p > 0:
        kept = max(1, int(np.count_nonzero(probabilities >= sampling.min_p * probabilities[0])))
        order, probabilities = order[:kept], probabilities[:kept]
    return order, probabilities / probabilities.sum()


def _penalize(logits: Logits, seen: set[int], penalty: float) -> Logits:
    ids = np.fromiter((token for token in seen if token < len(logits)), dtype=np.int64)
    penalized = logits.copy()
    values = penalized[ids]
    penalized[ids] = np.where(values < 0, values * penalty, values / penalty)
    return penalized
