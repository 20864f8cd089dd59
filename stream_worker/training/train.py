"""From examples to trained heads: seconds on a CPU, and the same for the same seed."""

from collections.abc import Callable, Sequence
from random import Random

import torch
from torch import Tensor

from stream_worker.errors import Code, Misconfigured
from stream_worker.inference.frozen import FrozenEncoder, Read
from stream_worker.inference.heads import FORMAT, Card, Heads, Weights
from stream_worker.inference.slot_labels import label_names, token_labels
from stream_worker.training.augment import copies
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
    reads = _read(encoder, in_scope)
    vectors = torch.stack([read.vector for read in reads])
    negatives = _negatives(examples, encoder)
    intents = torch.tensor([names.index(example.intent) for example in in_scope])
    progress("fitting intents and scope")
    weight, bias = fit_intents(vectors, intents, len(names))
    scope = fit_scope(vectors, intents, negatives, weight, bias)
    slot_labels = label_names(examples.slot_names)
    progress(f"fitting {len(examples.slot_names)} slots")
    more = copies(examples, Random(seed))  # noqa: S311  # not for security
    tokens, labels = _tokens([*in_scope, *more], [*reads, *_read(encoder, more)], slot_labels)
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


def _read(encoder: FrozenEncoder, examples: Sequence[Example]) -> list[Read]:
    return encoder.read_all([example.text for example in examples])


def _negatives(examples: Examples, encoder: FrozenEncoder) -> Tensor:
    reads = _read(encoder, [example for example in examples.examples if example.intent == OUT_OF_SCOPE])
    return torch.stack([read.vector for read in reads]) if reads else torch.zeros(0, encoder.text_width)


def _tokens(examples: Sequence[Example], reads: Sequence[Read], names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """All tokens, each with the number of its label."""
    labels = [
        names.index(label)
        for example, read in zip(examples, reads, strict=True)
        for label in token_labels(read.spans, [(slot.name, slot.start, slot.end) for slot in example.slots])
    ]
    return torch.cat([read.tokens for read in reads]), torch.tensor(labels)
