"""Encoders of any other kind than BERT's: the model of the library, on padded texts."""

from typing import Any

import torch
from torch import Tensor

from stream_worker.inference.bert import Packed


class OtherTrunk:
    """Frozen. It computes in float32; what it is given are the embeddings of the words, without positions."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @property
    def width(self) -> int:
        return int(self._model.config.hidden_size)

    def embed(self, packed: Packed) -> Tensor:
        embedded: Tensor = self._model.get_input_embeddings()(packed.ids)
        return embedded

    def run(self, states: Tensor, packed: Packed) -> Tensor:
        """[tokens, width], the last layer's states."""
        texts, longest = packed.grid.shape
        padded = states.index_select(0, packed.grid.view(-1)).view(texts, longest, -1)
        mask = torch.arange(longest) < packed.lengths.unsqueeze(1)
        last: Tensor = self._model(inputs_embeds=padded, attention_mask=mask.long()).last_hidden_state
        return last.reshape(texts * longest, -1).index_select(0, packed.flat)
