"""Fits the slots' head: on states that stay as they are, or (in `tune`) together with the encoder's layers."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from stream_worker.inference.crf import IMPOSSIBLE, negative_log_likelihood, padded
from stream_worker.inference.slot_labels import may_follow
from stream_worker.inference.slot_layers import SlotLayers

_INNER = 128
_EPOCHS = 20
_STEPS = 200
"""At least: a handful of examples is seen more often."""

_BATCH = 64
_RATE = 2e-3
_DROPOUT = 0.1


def new_layers(labels: Sequence[str], inputs: int, generator: torch.Generator) -> SlotLayers:
    """Not trained; what may not follow each other is as good as impossible from the start."""
    steps = [[0.0 if may_follow(before, after) else IMPOSSIBLE for after in labels] for before in labels]
    first = [0.0 if may_follow("O", after) else IMPOSSIBLE for after in labels]
    return SlotLayers(
        inner_weight=torch.randn(_INNER, inputs, generator=generator) * inputs**-0.5,
        inner_bias=torch.zeros(_INNER),
        outer_weight=torch.zeros(len(labels), _INNER),
        outer_bias=torch.zeros(len(labels)),
        steps=torch.tensor(steps),
        first=torch.tensor(first),
        last=torch.zeros(len(labels)),
    )


def slot_loss(layers: SlotLayers, inputs: Sequence[Tensor], labels: Sequence[Tensor], dropout: float) -> Tensor:
    """The mean over texts, of inputs [words, inputs] and labels [words]; texts without words do not count."""
    full = [at for at, own in enumerate(labels) if len(own)]
    if not full:
        return torch.zeros(())
    lengths = [len(labels[at]) for at in full]
    scores, there = padded(layers.scores(torch.cat([inputs[at] for at in full]), dropout), lengths)
    wanted = pad_sequence([labels[at] for at in full], batch_first=True)
    return negative_log_likelihood(scores, there, wanted, layers.chain).mean()


def fit_slots(layers: SlotLayers, inputs: Sequence[Tensor], labels: Sequence[Tensor], seed: int) -> SlotLayers:
    """Trained on texts with inputs [words, inputs] and labels [words]."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [parameter.requires_grad_(True) for parameter in layers]
    optimizer = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=0.01)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # of the dropout
        for _ in range(max(_EPOCHS, _STEPS // math.ceil(len(inputs) / _BATCH))):
            for batch in torch.split(torch.randperm(len(inputs), generator=generator), _BATCH):
                chosen = batch.tolist()
                optimizer.zero_grad()
                loss = slot_loss(layers, [inputs[at] for at in chosen], [labels[at] for at in chosen], _DROPOUT)
                torch.autograd.backward(loss)
                optimizer.step()
    return SlotLayers(*(parameter.detach() for parameter in parameters))
