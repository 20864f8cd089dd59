"""Fits the heads' weights on what the frozen encoder read. Deterministic; float32 on CPU."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from stream_worker.inference.heads import familiarity

_C = 10.0
"""Inverse strength of the intents' L2 penalty, as scikit-learn counts it."""

_FOLDS = 5
_ENOUGH_JUDGED = 1_000
"""Of more examples than this only so many are judged by the others, as each fold is a training."""

_SCOPE_PENALTY = 0.01

_SLOT_INNER = 128
_SLOT_EPOCHS = 30
_SLOT_BATCH = 1_024
_SLOT_RATE = 2e-3
_REJECTED = 0.05
"""The part of examples in scope that may be taken for out of scope."""


def fit_intents(vectors: Tensor, intents: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression: weight [intents, width] and bias [intents]."""
    weight = torch.zeros(count, vectors.shape[1], requires_grad=True)
    bias = torch.zeros(count, requires_grad=True)

    def loss() -> Tensor:
        missed = cross_entropy(vectors @ weight.T + bias, intents, reduction="sum")
        return _C * missed + weight.square().sum() / 2

    _minimise(loss, [weight, bias])
    return weight.detach(), bias.detach()


@dataclass(frozen=True, slots=True)
class Scope:
    """Mean and scale [3] of the familiarities, weight [4] with the constant last, and the lowest scope that is in."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    threshold: float


def fit_scope(vectors: Tensor, intents: Tensor, negatives: Tensor, weight: Tensor, bias: Tensor) -> Scope:
    """The decision whether a text is in scope; `weight` and `bias` are those of the intents.

    The scope is a logistic regression in which examples and negatives weigh the same, or the mean of the
    familiarities where there are no negatives. The threshold is one that few examples in scope miss.
    """
    inside = _judged_by_others(vectors, intents, len(bias), negatives)
    mean, scale = inside.mean(0), inside.std(0, correction=0).clamp(min=1e-6)
    inside = (inside - mean) / scale
    if len(negatives):
        scope_weight = _weigh(inside, (_negatives_judged(vectors, negatives, weight, bias) - mean) / scale)
    else:
        scope_weight = torch.tensor([0.5, 0.5, 0.0, 0.0])
    scopes = (inside @ scope_weight[:3] + scope_weight[3]).sigmoid()
    return Scope(mean, scale, scope_weight, float(scopes.quantile(_REJECTED)))


def _judged_by_others(vectors: Tensor, intents: Tensor, count: int, negatives: Tensor) -> Tensor:
    """The familiarities [judged, 3] of examples to what was trained without them."""
    judged: list[Tensor] = []
    part = torch.arange(len(vectors)) % _FOLDS
    for fold in range(_FOLDS):
        known, held_out = vectors[part != fold], vectors[part == fold]
        weight, bias = fit_intents(known, intents[part != fold], count)
        judged.append(familiarity(held_out, held_out @ weight.T + bias, known, negatives))
        if sum(map(len, judged)) >= _ENOUGH_JUDGED:
            break
    return torch.cat(judged)


def _negatives_judged(vectors: Tensor, negatives: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The familiarities [negatives, 3]; the intents know none of the negatives, and each is compared with others."""
    part = torch.arange(len(negatives)) % _FOLDS
    return torch.cat(
        [
            familiarity(
                negatives[part == fold], negatives[part == fold] @ weight.T + bias, vectors, negatives[part != fold]
            )
            for fold in range(_FOLDS)
        ]
    )


def _weigh(inside: Tensor, outside: Tensor) -> Tensor:
    weight = torch.zeros(4, requires_grad=True)

    def loss() -> Tensor:
        right = softplus(-(inside @ weight[:3] + weight[3])).mean()
        wrong = softplus(outside @ weight[:3] + weight[3]).mean()
        return right + wrong + _SCOPE_PENALTY * weight[:3].square().sum()

    _minimise(loss, [weight])
    return weight.detach()


@dataclass(frozen=True, slots=True)
class SlotLayers:
    """inner [inner, width] and [inner]; outer [labels, inner] and [labels]."""

    inner_weight: Tensor
    inner_bias: Tensor
    outer_weight: Tensor
    outer_bias: Tensor


def fit_slots(tokens: Tensor, labels: Tensor, count: int, seed: int) -> SlotLayers:
    """A small perceptron over tokens [tokens, width] with labels [tokens]."""
    generator = torch.Generator().manual_seed(seed)
    layers = SlotLayers(
        torch.randn(_SLOT_INNER, tokens.shape[1], generator=generator) * tokens.shape[1] ** -0.5,
        torch.zeros(_SLOT_INNER),
        torch.zeros(count, _SLOT_INNER),
        torch.zeros(count),
    )
    parameters = [layers.inner_weight, layers.inner_bias, layers.outer_weight, layers.outer_bias]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, lr=_SLOT_RATE, weight_decay=0.01)
    epochs = _SLOT_EPOCHS if count > 1 else 0  # with one label, that of no slot, there is nothing to learn
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(tokens), generator=generator), _SLOT_BATCH):
            optimizer.zero_grad()
            inner = (tokens[batch] @ layers.inner_weight.T + layers.inner_bias).relu()
            logits = inner @ layers.outer_weight.T + layers.outer_bias
            torch.autograd.backward(cross_entropy(logits, labels[batch]))
            optimizer.step()
    return SlotLayers(*(parameter.detach() for parameter in parameters))


def _minimise(loss: Callable[[], Tensor], parameters: list[Tensor]) -> None:
    optimizer = torch.optim.LBFGS(parameters, max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        torch.autograd.backward(value)
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves this one without types
