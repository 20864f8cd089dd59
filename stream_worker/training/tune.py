"""Tunes an encoder's last layers together with the heads for intents and slots.

The intents' head begins as the logistic regression on the layers as they were: from scratch it takes longer and ends
lower. Where there are slots all layers are tuned, else the later half, and what the earlier ones say is computed once.
A part of the examples is held out to see how sure the result may be, and joins the rest for the last epochs.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stream_worker.inference.bert import Bert, Packed, pack
from stream_worker.inference.heads import familiarity
from stream_worker.inference.nearest import nearest
from stream_worker.inference.slot_layers import SlotLayers
from stream_worker.inference.text_encoder import TextEncoder, Tokens, passes, text_vectors, word_states
from stream_worker.training.fit import Judged, intent_loss, negatives_judged
from stream_worker.training.samples import Sample, Samples
from stream_worker.training.slots import slot_loss

Progress = Callable[[str], None]

_PASSES = 12_000
"""About so many times an example is seen, all of them together: what a minute or two has room for."""

_EPOCHS = (3, 12)
_STEPS = 100
"""At least: a handful of examples is seen more often."""

_LAST_EPOCHS = {False: 0.5, True: 0.2}
"""The part of the epochs that sees all examples, without and with slots; the others tell how sure the result may be."""

_LAST_STRENGTH = {False: 1.0, True: 0.3}
"""The part of the rates that they begin with."""

_BATCH = 32
_RATE = {False: 1e-4, True: 3e-4}
"""Of the layers, without and with slots."""

_HEAD_RATE = 3e-3
"""Of the slots' head, which begins with nothing."""

_WARM_UP = 0.1
_DROPOUT = 0.1
_CUT_OFF = 0.1
"""So many of a text's tokens are blanked each time it is seen, so that more than its first telling word counts.

Token cutoff: Shen et al., 2020, arXiv:2009.13818. Not with slots: a blank word has no label.
"""

_DECAY = 0.01
_CLIP = 1.0
_SLOT_SHARE = 0.3
_VARIED = 0.4
"""How often a text with slots is seen with other values in them."""

_HELD_OUT = 7
"""Every so many-th example is held out at first."""

_MOST_HELD_OUT = 1_000


@dataclass(frozen=True, slots=True)
class Tuned:
    """The tuned layers and heads, and how examples looked before they were trained on."""

    layers: tuple[dict[str, Tensor], ...]
    intents: tuple[Tensor, Tensor]
    slots: SlotLayers
    judged: Judged


@dataclass(frozen=True, slots=True)
class Beginning:
    """What tuning starts from: the slots' head, the examples out of scope, and a way to weight and bias of the intents,
    from the numbers of some examples: those held out must not be among them, or they look far too easy."""

    slots: SlotLayers
    negatives: Sequence[Tokens]
    fit_intents: Callable[[Sequence[int]], tuple[Tensor, Tensor]]


def tune(samples: Samples, encoder: TextEncoder, beginning: Beginning, seed: int, progress: Progress) -> Tuned:
    """Raises Misconfigured for an encoder that is no BERT."""
    return _Tuning(samples, encoder, beginning, seed, progress).run()


class _Tuning:
    def __init__(
        self, samples: Samples, encoder: TextEncoder, beginning: Beginning, seed: int, progress: Progress
    ) -> None:
        self._samples = samples
        # A name says nothing of slots.
        names = () if samples.has_slots else samples.names
        self._variants = (*samples.variants, *((name,) for name in names))
        self._wanted = torch.cat([samples.wanted, samples.names_wanted[: len(names)]])
        self._names = list(range(len(samples.variants), len(self._variants)))
        self._negatives = beginning.negatives
        self._progress = progress
        self._generator = torch.Generator().manual_seed(seed)
        self._seed = seed
        bert = encoder.bert
        self._kept = 0 if samples.has_slots else len(bert.layers) // 2
        self._layers = tuple(
            {name: value.float().clone().requires_grad_(True) for name, value in layer.items()}
            for layer in bert.layers[self._kept :]
        )
        self._bert: Bert = bert.with_layers(self._layers)
        self._held_out, self._rest = _parts(samples)
        start = beginning.fit_intents(self._rest)
        self._weight, self._bias = (value.clone().requires_grad_(True) for value in start)
        self._slots = SlotLayers(*(value.clone().requires_grad_(True) for value in beginning.slots))
        self._begun: dict[int, Tensor] = {}
        """By a sample's identity, its states after the layers that stay as they are."""

    def run(self) -> Tuned:
        count = len(self._samples.examples)
        epochs = max(_EPOCHS[0], min(_EPOCHS[1], round(_PASSES / count)), _STEPS // math.ceil(count / _BATCH))
        has_slots = self._samples.has_slots
        last = max(1, round(epochs * _LAST_EPOCHS[has_slots]))
        self._begin_all()
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)  # of the dropout
            self._train([*self._rest, *self._names], epochs - last, 1.0, "tuning")
            judged = self._judge(self._held_out, self._rest)
            everything, strength = [*range(count), *self._names], _LAST_STRENGTH[has_slots]
            self._train(everything, last, strength, "tuning with what was held out")
        return Tuned(
            tuple({name: value.detach() for name, value in layer.items()} for layer in self._layers),
            (self._weight.detach(), self._bias.detach()),
            SlotLayers(*(value.detach() for value in self._slots)),
            judged,
        )

    def _train(self, examples: list[int], epochs: int, strength: float, what: str) -> None:
        batches = math.ceil(len(examples) / _BATCH)
        optimizer = self._optimizer(strength)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, epochs * batches))
        for epoch in range(epochs):
            losses = 0.0
            for chosen in self._batches(examples):
                optimizer.zero_grad()
                loss = self._loss(chosen)
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_(self._parameters, _CLIP)
                optimizer.step()
                schedule.step()
                losses += float(loss.detach())
            self._progress(f"{what}: epoch {epoch + 1} of {epochs}, loss {losses / batches:.3f}")

    @property
    def _parameters(self) -> list[Tensor]:
        return [*(value for layer in self._layers for value in layer.values()), self._weight, self._bias, *self._slots]

    def _optimizer(self, strength: float) -> torch.optim.Optimizer:
        rate = _RATE[self._samples.has_slots] * strength
        layers = [value for layer in self._layers for value in layer.values()]
        groups: list[dict[str, Any]] = [
            {"params": [value for value in layers if value.dim() > 1], "weight_decay": _DECAY},
            {"params": [value for value in layers if value.dim() == 1]},
            {"params": [self._weight, self._bias]},
        ]
        if self._samples.has_slots:
            groups.append({"params": list(self._slots), "lr": _HEAD_RATE * strength})
        return torch.optim.AdamW(groups, lr=rate, weight_decay=0.0, fused=True)

    def _batches(self, examples: list[int]) -> Iterator[list[int]]:
        order = torch.randperm(len(examples), generator=self._generator).tolist()
        for start in range(0, len(order), _BATCH):
            yield [examples[at] for at in order[start : start + _BATCH]]

    def _loss(self, chosen: list[int]) -> Tensor:
        drawn = [self._draw(at) for at in chosen]
        states, packed = self._run([one.tokens for one in drawn], _DROPOUT)
        vectors = text_vectors(states, packed, [one.tokens for one in drawn])
        logits = vectors @ self._weight.T + self._bias
        loss = intent_loss(logits, self._wanted[chosen], several=self._samples.several).mean()
        if not self._samples.has_slots:
            return loss
        parts = torch.split(states, packed.lengths.tolist())
        inputs = [
            torch.cat([word_states(part, one.tokens), one.constants], dim=1)
            for part, one in zip(parts, drawn, strict=True)
        ]
        return loss + _SLOT_SHARE * slot_loss(self._slots, inputs, [one.labels for one in drawn], _DROPOUT)

    def _draw(self, at: int) -> Sample:
        variants = self._variants[at]
        if len(variants) == 1 or float(torch.rand((), generator=self._generator)) > _VARIED:
            return variants[0]
        return variants[int(torch.randint(1, len(variants), (), generator=self._generator))]

    def _run(self, tokens: Sequence[Tokens], dropout: float) -> tuple[Tensor, Packed]:
        packed = pack([one.ids for one in tokens])
        if not self._kept:
            with torch.no_grad():
                states = self._bert.embed(packed)
        else:
            states = torch.cat([self._begun[id(one)] for one in tokens])
        if dropout and not self._samples.has_slots:
            states = states * (torch.rand(len(states), 1) >= _CUT_OFF)
        return self._bert.run(states, packed, slice(self._kept, None), dropout), packed

    def _begin_all(self) -> None:
        """What the layers that stay as they are say of each text, once."""
        texts = [sample.tokens for variants in self._variants for sample in variants] + [*self._negatives]
        for indices in passes([len(one.ids) for one in texts] if self._kept else []):
            packed = pack([texts[at].ids for at in indices])
            with torch.no_grad():
                states = self._bert.run(self._bert.embed(packed), packed, slice(0, self._kept))
            parts = torch.split(states, packed.lengths.tolist())
            # Each has its own memory: a view would keep the whole pass alive.
            self._begun.update((id(texts[at]), part.clone()) for at, part in zip(indices, parts, strict=True))

    def _judge(self, held_out: list[int], rest: list[int]) -> Judged:
        variants = self._samples.variants
        vectors, known = (self._vectors([variants[at][0].tokens for at in part]) for part in (held_out, rest))
        negatives = self._vectors(self._negatives) if self._negatives else torch.zeros(0, known.shape[1])
        weight, bias = self._weight.detach(), self._bias.detach()
        logits = vectors @ weight.T + bias
        near = nearest(vectors, known)
        inside = familiarity(vectors, logits, near, negatives)
        outside = negatives_judged(known, negatives, weight, bias)
        wanted = self._samples.wanted
        return Judged(logits, near.voices(wanted[rest]), wanted[held_out], inside, outside)

    def _vectors(self, tokens: Sequence[Tokens]) -> Tensor:
        vectors: list[Tensor] = []
        with torch.no_grad():
            for start in range(0, len(tokens), 64):
                part = tokens[start : start + 64]
                states, packed = self._run(part, 0.0)
                vectors.append(text_vectors(states, packed, part))
        return torch.cat(vectors)


def _parts(samples: Samples) -> tuple[list[int], list[int]]:
    """The numbers of the examples that are held out, with a share of each intent, and of the rest."""
    order = sorted(range(len(samples.examples)), key=lambda at: samples.examples[at].intent)
    held_out = order[_HELD_OUT // 2 :: _HELD_OUT][:_MOST_HELD_OUT]
    return held_out, sorted(set(order) - set(held_out))


def _rate(step: int, steps: int) -> float:
    """Rises for the first part, then falls in a line."""
    warm = max(1, round(_WARM_UP * steps))
    return (step + 1) / warm if step < warm else max(0.0, (steps - step) / max(1, steps - warm))
