"""The slots' head: a small perceptron over each word, and a chain over their labels."""

from typing import NamedTuple

import torch
from torch import Tensor

from stream_worker.inference.crf import Chain


class SlotLayers(NamedTuple):
    """float32 on CPU."""

    inner_weight: Tensor
    """[inner, word inputs]"""

    inner_bias: Tensor
    """[inner]"""

    outer_weight: Tensor
    """[labels, inner]"""

    outer_bias: Tensor
    """[labels]"""

    steps: Tensor
    """[labels, labels], from a label to the next"""

    first: Tensor
    """[labels]"""

    last: Tensor
    """[labels]"""

    @property
    def chain(self) -> Chain:
        return Chain(self.steps, self.first, self.last)

    def scores(self, inputs: Tensor, dropout: float = 0.0) -> Tensor:
        """[words, labels] of word inputs [words, inputs]."""
        inner = torch.nn.functional.gelu(inputs @ self.inner_weight.T + self.inner_bias)
        if dropout:
            inner = torch.nn.functional.dropout(inner, dropout)
        return inner @ self.outer_weight.T + self.outer_bias
