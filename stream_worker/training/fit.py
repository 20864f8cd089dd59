"""Fits the light heads on what an encoder read. Deterministic; float32 on CPU."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, softplus

from stream_worker.inference.heads import familiarity
from stream_worker.inference.nearest import Balance, nearest, own_scores

_C = 30.0
"""Inverse strength of the intents' L2 penalty, as scikit-learn counts it, for inputs of about length 1."""

_FOLDS = 5
_ENOUGH_JUDGED = 1_000
"""Of more examples than this only so many are judged by the others, as each fold is a training."""

_SCOPE_PENALTY = 0.01
_MOST_VOICE = 0.5
_USUAL_TURN = -0.4
"""The logit of the usual voice, 0.2, among those up to the most."""

_LEAST = 1e-6
"""A score that is taken for no less, and for no more than 1 less this."""


def fit_intents(vectors: Tensor, wanted: Tensor, *, several: bool, steps: int = 100) -> tuple[Tensor, Tensor]:
    """Logistic regression: weight [intents, width] and bias [intents], for what is `wanted`: [texts, intents].

    Multinomial, or one for each intent where a text may have `several`. What all vectors have in common is taken out
    first, which matters where they point nearly the same way, as those of some multilingual encoders do.
    """
    centre = vectors.mean(0)
    scale = (vectors - centre).square().sum(1).mean().sqrt().clamp(min=1e-6)
    inputs = (vectors - centre) / scale
    weight = torch.zeros(wanted.shape[1], vectors.shape[1], requires_grad=True)
    bias = torch.zeros(wanted.shape[1], requires_grad=True)

    def loss() -> Tensor:
        return _C * intent_loss(inputs @ weight.T + bias, wanted, several=several).sum() + weight.square().sum() / 2

    _minimise(loss, [weight, bias], steps)
    folded = weight.detach() / scale
    return folded, bias.detach() - folded @ centre


def intent_loss(logits: Tensor, wanted: Tensor, *, several: bool) -> Tensor:
    """[texts]"""
    if several:
        return binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(1)
    return cross_entropy(logits, wanted, reduction="none")


def fit_balance(judged: "Judged | Logits", *, several: bool) -> Balance:
    """How head and nearest examples make up scores that are as often right as they say.

    The voice is at most half, and of a few texts near what was best elsewhere.

    Guo et al., 2017, arXiv:1706.04599.
    """
    inverse = torch.zeros(1, requires_grad=True)
    turn = torch.zeros(1, requires_grad=True)

    def voice() -> Tensor:
        return _MOST_VOICE * (turn + _USUAL_TURN).sigmoid()

    def loss() -> Tensor:
        own = own_scores(judged.logits * inverse.exp(), several=several)
        scores = torch.lerp(own, judged.voices, voice()).clamp(_LEAST, 1 - _LEAST)
        if several:
            lost = binary_cross_entropy(scores, judged.wanted, reduction="sum")
        else:
            lost = -(judged.wanted * scores.log()).sum()
        # As if some texts had said that both are as usual.
        return lost + (inverse.square() + turn.square()).sum() / 2

    _minimise(loss, [inverse, turn], 50)
    return Balance(float((-inverse.detach()).exp().clamp(0.05, 20.0)), float(voice().detach()))


@dataclass(frozen=True, slots=True)
class Judged:
    """Examples as they look to what was trained without them: logits [texts, intents], the voices of their nearest
    examples and what was `wanted` of them, both of the same shape; the familiarities [texts, 3] of those in scope, and
    of the negatives."""

    logits: Tensor
    voices: Tensor
    wanted: Tensor
    inside: Tensor
    outside: Tensor


@dataclass(frozen=True, slots=True)
class Logits:
    """Of texts that were judged without having been trained on: their numbers, and the rest as of `Judged`."""

    order: list[int]
    logits: Tensor
    voices: Tensor
    wanted: Tensor


def judged_by_others(
    vectors: Tensor, wanted: Tensor, negatives: Tensor, whole: tuple[Tensor, Tensor], *, several: bool
) -> Judged:
    """By cross-validation; `whole` are weight and bias of what was trained on all, which know none of the negatives."""
    judged: list[Tensor] = []
    voices: list[Tensor] = []
    inside: list[Tensor] = []
    asked: list[Tensor] = []
    for known, held_out in _folds(len(vectors)):
        weight, bias = fit_intents(vectors[known], wanted[known], several=several)
        judged.append(vectors[held_out] @ weight.T + bias)
        near = nearest(vectors[held_out], vectors[known])
        voices.append(near.voices(wanted[known]))
        inside.append(familiarity(vectors[held_out], judged[-1], near, negatives))
        asked.append(wanted[held_out])
        if sum(map(len, judged)) >= _ENOUGH_JUDGED:
            break
    outside = negatives_judged(vectors, negatives, *whole)
    return Judged(torch.cat(judged), torch.cat(voices), torch.cat(asked), torch.cat(inside), outside)


def all_judged_by_others(vectors: Tensor, wanted: Tensor, *, several: bool) -> Logits:
    """By cross-validation, each of them."""
    order: list[int] = []
    judged: list[Tensor] = []
    voices: list[Tensor] = []
    for known, held_out in _folds(len(vectors)):
        weight, bias = fit_intents(vectors[known], wanted[known], several=several)
        judged.append(vectors[held_out] @ weight.T + bias)
        voices.append(nearest(vectors[held_out], vectors[known]).voices(wanted[known]))
        order += held_out.tolist()
    return Logits(order, torch.cat(judged), torch.cat(voices), wanted[order])


def _folds(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The numbers of what is known, and of what is held out."""
    part = torch.arange(count) % _FOLDS
    for fold in range(min(_FOLDS, count)):
        if count > 1:
            yield (part != fold).nonzero().squeeze(1), (part == fold).nonzero().squeeze(1)


@dataclass(frozen=True, slots=True)
class Scope:
    """Mean and scale [3] of the familiarities, weight [4] with the constant last, and the lowest scope that is in."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    threshold: float


def fit_scope(inside: Tensor, outside: Tensor, rejected: float) -> Scope:
    """The decision whether a text is in scope, from familiarities [examples, 3] and [negatives, 3].

    The scope is a logistic regression in which examples and negatives weigh the same, or the mean of the
    familiarities where there are no negatives. The threshold is one that only `rejected` of the examples miss, or,
    where negatives say what else is written, up to twice as many if that finds more of them.
    """
    mean, scale = inside.mean(0), inside.std(0, correction=0).clamp(min=1e-6)
    inside = (inside - mean) / scale
    even = torch.tensor([0.5, 0.5, 0.0, 0.0])
    weight = _weigh(inside, (outside - mean) / scale) if len(outside) else even
    scopes = (inside @ weight[:3] + weight[3]).sigmoid()
    threshold = float(scopes.quantile(rejected))
    if len(outside):
        others = ((outside - mean) / scale @ weight[:3] + weight[3]).sigmoid()
        threshold = _best_threshold(scopes, others, threshold, float(scopes.quantile(min(1.0, 2 * rejected))))
    return Scope(mean, scale, weight, threshold)


def _best_threshold(inside: Tensor, outside: Tensor, lowest: float, highest: float) -> float:
    """Where the parts of both sides that are taken for the other are smallest together; the lowest of several."""
    candidates = torch.cat([torch.tensor([lowest]), inside[(inside > lowest) & (inside <= highest)].sort().values])
    missed = (inside < candidates.unsqueeze(1)).float().mean(1) + (outside >= candidates.unsqueeze(1)).float().mean(1)
    return float(candidates[missed.argmin()])


def negatives_judged(vectors: Tensor, negatives: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The familiarities [negatives, 3]; the intents know none of the negatives, and each is compared with others."""
    if not len(negatives):
        return torch.zeros(0, 3)
    part = torch.arange(len(negatives)) % _FOLDS
    order = torch.argsort(part, stable=True)
    judged = [
        familiarity(
            negatives[part == fold],
            negatives[part == fold] @ weight.T + bias,
            nearest(negatives[part == fold], vectors),
            negatives[part != fold],
        )
        for fold in range(min(_FOLDS, len(negatives)))
    ]
    return torch.cat(judged)[torch.argsort(order)]


def _weigh(inside: Tensor, outside: Tensor) -> Tensor:
    weight = torch.zeros(4, requires_grad=True)

    def loss() -> Tensor:
        right = softplus(-(inside @ weight[:3] + weight[3])).mean()
        wrong = softplus(outside @ weight[:3] + weight[3]).mean()
        return right + wrong + _SCOPE_PENALTY * weight[:3].square().sum()

    _minimise(loss, [weight], 100)
    return weight.detach()


def _minimise(loss: Callable[[], Tensor], parameters: list[Tensor], steps: int) -> None:
    optimizer = torch.optim.LBFGS(parameters, max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        torch.autograd.backward(value)
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves this one without types
