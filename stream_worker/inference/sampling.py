"""Chooses the next token from one row of logits. NumPy on the CPU, one row at a time.

What always holds: the choice depends on the row, the request's sampling and
seed, and the ids before it; never on what else is in the batch.

One pass over the vocabulary leaves what may be drawn; only that is sorted. What
it leaves out is certain: see `_bound`. Several rows at once would only save the
calls, a few microseconds each.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream_worker.inference.constraints import Constraint
from stream_worker.tokens import Sampling

Logits = NDArray[np.float32]

_BLOCK = 256
_LOWEST = float(np.finfo(np.float32).min)


class Sampler:
    """One request's choices. The n-th choice uses the n-th number of the seed's own stream."""

    def __init__(
        self, sampling: Sampling, seed: int, prompt: Sequence[int], constraint: Constraint | None = None
    ) -> None:
        self._sampling = sampling
        self._random = np.random.Generator(np.random.Philox(key=seed & (2**64 - 1)))
        self._seen = set(prompt) if sampling.repetition_penalty != 1 else set()
        self._bias_ids = np.fromiter((token for token, _ in sampling.logit_bias), dtype=np.int64)
        self._bias = np.fromiter((bias for _, bias in sampling.logit_bias), dtype=np.float32)
        self._constraint = constraint
        self.log_probabilities: list[float] = []
        """Of each chosen id under the model alone, where they were asked for."""
        self.failure: str | None = None
        """Why no further id can be chosen; the request fails, and the last choice means nothing."""

    @property
    def takes_argmax(self) -> bool:
        """Whether the choice is the likeliest token and nothing else, so that a whole batch can be chosen at once."""
        sampling = self._sampling
        return (
            sampling.temperature == 0
            and sampling.repetition_penalty == 1
            and not sampling.logit_bias
            and not sampling.log_probabilities
            and self._constraint is None
        )

    @property
    def is_whole(self) -> bool:
        """Whether the reply may end here: always, but for the middle of a JSON text that was asked for."""
        return self._constraint is None or self._constraint.is_complete

    def choose(self, logits: Logits) -> int:
        """The next id. `logits`: float32 [vocabulary]. Sets `failure` where the constraint allows none."""
        try:
            token = self._choose(self._adjusted(logits))
            if self._constraint is not None:
                self._constraint.take(token)
        except ValueError as error:
            self.failure = str(error)
            return 0
        if self._sampling.repetition_penalty != 1:
            self._seen.add(token)
        if self._sampling.log_probabilities:
            self.log_probabilities.append(_log_probability(logits, token))
        return token

    def _adjusted(self, logits: Logits) -> Logits:
        """The row with penalty, bias and constraint applied, in this order; the caller's own row stays as it is."""
        row = logits
        if self._seen:
            row = _penalize(row, self._seen, self._sampling.repetition_penalty)
        if len(self._bias_ids):
            row = row.copy()
            np.add.at(row, self._bias_ids, self._bias)
        if self._constraint is not None:
            row = np.where(self._constraint.allowed(), row, np.float32(-np.inf))
        return row

    def _choose(self, row: Logits) -> int:
        likeliest = int(row.argmax())
        if self._sampling.temperature == 0 or math.isinf(row[likeliest]):
            return likeliest
        ids, weights = candidates(row, self._sampling)
        # Inverse of the distribution function: one number per token, however many candidates there are.
        cumulated = np.cumsum(weights)
        at = int(np.searchsorted(cumulated, self._random.random() * cumulated[-1], side="right"))
        return int(ids[min(at, len(ids) - 1)])


def candidates(logits: Logits, sampling: Sampling) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What may be drawn, with its probability: temperature, then top-k, top-p and min-p.

    `logits`: float32 [vocabulary]; those of -inf are never drawn. Temperature is above 0. Likeliest first, but in the
    vocabulary's order where nothing is cut by rank.
    """
    highest = logits.max()
    ids = np.flatnonzero(logits >= max(_bound(logits, highest, sampling), _LOWEST))
    if sampling.top_k or sampling.top_p < 1:
        ids = ids[np.argsort(-logits[ids], kind="stable")]
    if 0 < sampling.top_k < len(ids):
        ids = ids[: sampling.top_k]
    weights = np.exp((logits[ids] - highest) / np.float32(sampling.temperature)).astype(np.float64)
    if sampling.top_p < 1:
        # A token stays while those before it have not reached the share: the likeliest always stays.
        total = weights.sum() if sampling.top_k else _total_weight(logits, highest, sampling.temperature)
        before = np.cumsum(weights) - weights
        kept = max(1, int(np.count_nonzero(before < sampling.top_p * total)))
        ids, weights = ids[:kept], weights[:kept]
    if sampling.min_p > 0:
        likely = weights >= sampling.min_p
        ids, weights = ids[likely], weights[likely]
    return ids, weights / weights.sum()


def _bound(logits: Logits, highest: np.float32, sampling: Sampling) -> float:
    """A logit below which nothing can be drawn, so that only what is above need be sorted.

    Top-k: the k-th highest logit, or cheaper the k-th of the blocks' highest: k tokens have at least that. Top-p:
    tokens of less than (1 - p) / vocabulary have less than 1 - p together, so those before any of them have reached p.
    Min-p is a share of the likeliest. A little is added for rounding.
    """
    bound = -math.inf
    blocks = len(logits) // _BLOCK
    if 0 < sampling.top_k <= blocks:
        tops = logits[: blocks * _BLOCK].reshape(blocks, _BLOCK).max(axis=1)
        bound = float(np.partition(tops, blocks - sampling.top_k)[blocks - sampling.top_k])
    elif 0 < sampling.top_k < len(logits):
        bound = float(np.partition(logits, len(logits) - sampling.top_k)[len(logits) - sampling.top_k])
    elif sampling.top_p < 1:
        total = _total_weight(logits, highest, sampling.temperature)
        least = (1 - sampling.top_p) / len(logits) * total
        bound = float(highest) + sampling.temperature * math.log(least * 0.999)
    if sampling.min_p > 0:
        bound = max(bound, float(highest) + sampling.temperature * math.log(sampling.min_p * 0.999))
    return bound


def _total_weight(logits: Logits, highest: np.float32, temperature: float) -> float:
    """The sum of all weights, the likeliest token's being 1."""
    return float(np.exp((logits - highest) / np.float32(temperature)).sum(dtype=np.float64))


def _penalize(logits: Logits, seen: set[int], penalty: float) -> Logits:
    """As CTRL does (Keskar et al. 2019): a logit that speaks for an id seen before is divided, one against it grows."""
    ids = np.fromiter((token for token in seen if token < len(logits)), dtype=np.int64)
    penalized = logits.copy()
    values = penalized[ids]
    penalized[ids] = np.where(values < 0, values * penalty, values / penalty)
    return penalized


def _log_probability(logits: Logits, token: int) -> float:
    """Of an id under the model alone, at temperature 1."""
    highest = logits.max()
    return float(logits[token] - highest) - math.log(_total_weight(logits, highest, 1.0))
