"""From examples to trained heads: seconds on a CPU, and the same for the same seed."""

from collections.abc import Callable, Sequence
from random import Random

import torch
from torch import Tensor

from stream_worker.errors import Code, Misconfigured
from stream_worker.inference.frozen import FrozenEncoder, Read
from stream_worker.inference.heads import FORMAT, Card, Heads, Weights
from stream_worker.inference.slot_labels import label_names, token_labels
from stream_worker.training.augment import augmented
from stream_worker.training.examples import OUT_OF_SCOPE, Example, Examples
from stream_worker.training.fit import fit_intents, fit_scope, fit_slots

Progress = Callable[[str], None]


def train(examples: Examples, encoder: FrozenEncoder, seed: int, progress: Progress = lambda _: None) -> Heads:
    """Raises Misconfigured when there are fewer than two intents to tell apart."""
    in_scope = [example for example in examples.examples if example.intent != OUT_OF_SCOPE]
    names = tuple(sorted({example.intent for example in in_scope}))
    if len(names) < 2:
        raise Misconfigured(
            Code.EXAMPLES_INVALID,
            f"the examples have {len(names)} intents besides {OUT_OF_SCOPE}; at least 2 are needed",
        )
    # Drawn once, so that each fold of a cross-validation has some of every intent.
    Random(seed).shuffle(in_scope)  # noqa: S311  # not for security: the same order for the same seed
    progress(f"reading {len(examples.examples)} examples of {len(names)} intents")
    vectors = _vectors(encoder, in_scope)
    negatives = _vectors(encoder, [example for example in examples.examples if example.intent == OUT_OF_SCOPE])
    intents = torch.tensor([names.index(example.intent) for example in in_scope])
    progress("fitting intents and scope")
    weight, bias = fit_intents(vectors, intents, len(names))
    scope = fit_scope(vectors, intents, len(names), negatives)
    slot_labels = label_names(examples.slot_names)
    progress(f"fitting {len(examples.slot_names)} slots")
    tokens, labels = _tokens(examples, encoder, slot_labels, seed)
    layers = fit_slots(tokens, labels, len(slot_labels), seed)
    card = Card(
        format=FORMAT,
        encoder=encoder.version,
        intents=names,
        slot_labels=slot_labels,
        threshold=scope.threshold,
        synonyms=examples.synonyms,
        examples=len(examples.examples),
        examples_hash=examples.hash,
        seed=seed,
    )
    weights = Weights(
        intent_weight=weight,
        intent_bias=bias,
        known=vectors,
        negatives=negatives,
        scope_mean=scope.mean,
        scope_scale=scope.scale,
        scope_weight=scope.weight,
        slot_inner_weight=layers.inner_weight,
        slot_inner_bias=layers.inner_bias,
        slot_outer_weight=layers.outer_weight,
        slot_outer_bias=layers.outer_bias,
    )
    return Heads(card, weights)


def _vectors(encoder: FrozenEncoder, examples: Sequence[Example]) -> Tensor:
    reads = encoder.read_all([example.text for example in examples])
    return torch.stack([read.vector for read in reads]) if reads else torch.zeros(0, encoder.text_width)


def _tokens(examples: Examples, encoder: FrozenEncoder, names: Sequence[str], seed: int) -> tuple[Tensor, Tensor]:
    """The tokens of all examples and of copies with other slot values, each with the number of its label."""
    more = augmented(examples, Random(seed))  # noqa: S311  # not for security
    reads = encoder.read_all([example.text for example in more])
    labels = [names.index(label) for example, read in zip(more, reads, strict=True) for label in _labels(example, read)]
    return torch.cat([read.tokens for read in reads]), torch.tensor(labels)


def _labels(example: Example, read: Read) -> list[str]:
    return token_labels(read.spans, [(slot.name, slot.start, slot.end) for slot in example.slots])
