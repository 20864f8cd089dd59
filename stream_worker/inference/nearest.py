"""The training examples that a text is most like, and how they and the head together score intents.

A head draws one border for an intent; the examples also know its corners, where a few of them say otherwise. Nearest
neighbours beside what was trained: Khandelwal et al., 2020, arXiv:1911.00172.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_NEAREST = 5

_LIKENESS_SCALE = 0.05
"""An example that is less alike by this has a voice less by a factor of e."""


@dataclass(frozen=True, slots=True)
class Balance:
    """How head and nearest examples make up a score: the head's logits are divided by `temperature`, and `voice` is the
    part of the examples, from 0 to 1."""

    temperature: float
    voice: float


@dataclass(frozen=True, slots=True)
class Nearest:
    """Of each text the few training examples that are most like it, the most alike first.

    `likeness`: float32 [texts, nearest], cosines; `examples`: int64 [texts, nearest], their numbers.
    """

    likeness: Tensor
    examples: Tensor

    def voices(self, intents: Tensor) -> Tensor:
        """float32 [texts, intents]: what part of them, by their likeness, has each intent.

        `intents`: [examples, intents], 1 where an example has one.
        """
        weights = (self.likeness / _LIKENESS_SCALE).softmax(-1)
        return (weights.unsqueeze(-1) * intents[self.examples]).sum(1)


def nearest(vectors: Tensor, known: Tensor) -> Nearest:
    """Of `vectors` [texts, width] among `known` [examples, width], both of length 1; there is at least one example."""
    found = (vectors @ known.T).topk(min(_NEAREST, len(known)), dim=-1)
    return Nearest(found.values, found.indices)


def intent_scores(logits: Tensor, voices: Tensor, balance: Balance, *, several: bool) -> Tensor:
    """float32 [texts, intents], from the head's `logits` and the `voices` of the nearest examples, of the same shape.

    They add up to 1, or each is a probability of its own where a text may have `several` intents.
    """
    return torch.lerp(own_scores(logits / balance.temperature, several=several), voices, balance.voice)


def own_scores(logits: Tensor, *, several: bool) -> Tensor:
    """What the head alone says: float32 [texts, intents]."""
    return logits.sigmoid() if several else logits.softmax(-1)
