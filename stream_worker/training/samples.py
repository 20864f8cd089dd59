"""Examples as training sees them: tokens, what is wanted of them, and variants with other values in their slots."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from stream_worker.inference.patterns import Patterns
from stream_worker.inference.slot_labels import SlotKind, label_names, word_labels
from stream_worker.inference.text_encoder import TextEncoder, Tokens
from stream_worker.inference.word_inputs import constant_inputs
from stream_worker.training.augment import copies
from stream_worker.training.examples import Example, Examples, MarkedSlot

_FEW = 20
"""Intents with at most so many examples also learn from their name."""

_NAME_PARTS = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Sample:
    """`labels`: int64 [words]; `constants`: float32 [words, constant width]."""

    tokens: Tokens
    labels: Tensor
    constants: Tensor


@dataclass(frozen=True, slots=True)
class Samples:
    """Of each example in scope its variants, the text itself first; `wanted`: float32 [examples, intents].

    `names` are those of intents with few examples, as texts without slots; `names_wanted`: float32 [names, intents].
    """

    intents: tuple[str, ...]
    several: bool
    labels: tuple[str, ...]
    patterns: Patterns
    examples: tuple[Example, ...]
    variants: tuple[tuple[Sample, ...], ...]
    wanted: Tensor
    names: tuple[Sample, ...]
    names_wanted: Tensor

    @property
    def has_slots(self) -> bool:
        return len(self.labels) > 1

    @property
    def unmarked(self) -> tuple[str, ...]:
        marked = {slot.name for example in self.examples for slot in example.slots}
        return tuple(name for name in self.patterns.names if name not in marked)


def make_samples(examples: Examples, encoder: TextEncoder, random: Random) -> Samples:
    """Shuffled once, so that each part of a cross-validation has some of every intent."""
    inside = [example for example in examples.examples if example.in_scope]
    random.shuffle(inside)
    intents = examples.intents
    kinds = sorted({_kind(slot) for example in inside for slot in example.slots}, key=lambda kind: kind.label)
    labels = label_names(kinds)
    patterns = Patterns(examples.lookups, examples.regexes)
    several = any(len(example.intents) > 1 for example in inside)
    drawn = copies(Examples(tuple(inside), lookups=examples.lookups), random)
    made = [_sample(example, tokens, labels, patterns) for example, tokens in _tokenized(drawn, encoder)]
    own = [_sample(example, tokens, labels, patterns) for example, tokens in _tokenized(inside, encoder)]
    by_place: dict[int, list[Sample]] = {}
    for example, sample in zip(drawn, made, strict=True):
        by_place.setdefault(int(example.place), []).append(sample)
    wanted = _wanted(inside, intents)
    names = _names(intents, wanted.sum(0).tolist())
    return Samples(
        intents,
        several,
        labels,
        patterns,
        tuple(inside),
        tuple((sample, *by_place.get(row, ())) for row, sample in enumerate(own)),
        wanted,
        tuple(_sample(name, tokens, labels, patterns) for name, tokens in _tokenized(names, encoder)),
        _wanted(names, intents),
    )


def _wanted(examples: Sequence[Example], intents: Sequence[str]) -> Tensor:
    wanted = torch.zeros(len(examples), len(intents))
    for row, example in enumerate(examples):
        for name in example.intents:
            wanted[row, intents.index(name)] = 1.0
    return wanted


def _kind(slot: MarkedSlot) -> SlotKind:
    return SlotKind(slot.name, slot.role, slot.group)


def _tokenized(examples: Sequence[Example], encoder: TextEncoder) -> list[tuple[Example, Tokens]]:
    return list(zip(examples, encoder.tokenize([example.text for example in examples]), strict=True))


def _sample(example: Example, tokens: Tokens, labels: tuple[str, ...], patterns: Patterns) -> Sample:
    if len(labels) == 1:
        return Sample(tokens, torch.zeros(len(tokens.words), dtype=torch.long), torch.zeros(len(tokens.words), 0))
    marked = [(_kind(slot), slot.start, slot.end) for slot in example.slots]
    numbers = [labels.index(label) for label in word_labels(tokens.words, marked)]
    return Sample(tokens, torch.tensor(numbers, dtype=torch.long), constant_inputs(tokens, patterns))


def _names(intents: Sequence[str], counts: Sequence[float]) -> list[Example]:
    """`card_arrival` says what its few examples are about: measured, it is worth as much as another example."""
    few = [name for name, count in zip(intents, counts, strict=True) if count <= _FEW]
    spoken = [Example(" ".join(_NAME_PARTS.findall(_CAMEL.sub(" ", name))).lower(), (name,)) for name in few]
    return [name for name in spoken if name.text]
