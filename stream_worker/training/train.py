"""From examples to trained heads: seconds on a CPU, a minute or two with tuning, and the same for the same seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from stream_worker.errors import Code, Misconfigured
from stream_worker.inference.bert import Bert
from stream_worker.inference.heads import Card, Heads, Weights
from stream_worker.inference.slot_layers import SlotLayers
from stream_worker.inference.text_encoder import Read, TextEncoder, Tokens
from stream_worker.inference.word_inputs import input_width
from stream_worker.training.examples import OUT_OF_SCOPE, SENTIMENTS, Examples
from stream_worker.training.fit import (
    Judged,
    fit_balance,
    fit_intents,
    fit_scope,
    judged_by_others,
)
from stream_worker.training.samples import Samples, make_samples
from stream_worker.training.slots import fit_slots, new_layers
from stream_worker.training.tune import Beginning, Progress, tune

ENOUGH_TO_TUNE = 500
"""Without being told, the encoder is tuned from so many examples on: fewer are fitted in seconds."""

REJECTED = 0.03
"""The part of messages in scope that may be taken for out of scope."""


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """`finetune`: None leaves it to the number of examples."""

    seed: int = 0
    finetune: bool | None = None
    rejected: float = REJECTED


def train(
    examples: Examples, encoder: TextEncoder, options: TrainingOptions, progress: Progress = lambda _: None
) -> Heads:
    """Raises Misconfigured when there are fewer than two intents, or the encoder cannot be tuned and should."""
    if len(examples.intents) < 2:
        raise Misconfigured(
            Code.EXAMPLES_INVALID,
            f"the examples have {len(examples.intents)} intents besides {OUT_OF_SCOPE}; at least 2 are needed",
        )
    samples = make_samples(examples, encoder, Random(options.seed))  # noqa: S311  # not for security
    progress(f"reading {len(examples.examples)} examples of {len(samples.intents)} intents")
    negatives = encoder.tokenize([example.text for example in examples.examples if not example.in_scope])
    frozen = _Frozen(samples, encoder, negatives, options.seed, progress)
    fitted = frozen.tuned() if finetunes(examples, encoder, options) else frozen.fitted()
    return _heads(examples, samples, fitted, options)


def finetunes(examples: Examples, encoder: TextEncoder, options: TrainingOptions) -> bool:
    """Whether the encoder is tuned for these examples."""
    if options.finetune is not None:
        return options.finetune
    return len(examples.examples) >= ENOUGH_TO_TUNE and isinstance(encoder.trunk, Bert)


@dataclass(frozen=True, slots=True)
class _Fitted:
    """What was learnt. `known` and `negatives` are vectors of the examples, as `encoder` sees them."""

    encoder: TextEncoder
    layers: tuple[dict[str, Tensor], ...]
    intents: tuple[Tensor, Tensor]
    slots: SlotLayers
    known: Tensor
    negatives: Tensor
    judged: Judged


class _Frozen:
    """The examples as the encoder sees them before it is tuned."""

    def __init__(
        self, samples: Samples, encoder: TextEncoder, negatives: Sequence[Tokens], seed: int, progress: Progress
    ) -> None:
        self._samples = samples
        self._encoder = encoder
        self._negatives = negatives
        self._seed = seed
        self._progress = progress
        self._reads = encoder.read_tokens([variants[0].tokens for variants in samples.variants])
        self._vectors = _vectors(self._reads, encoder)
        width = input_width(encoder.trunk.width, samples.patterns)
        self._slots = new_layers(samples.labels, width, torch.Generator().manual_seed(seed))

    def fitted(self) -> _Fitted:
        """Heads on the encoder as it is."""
        intents = self._fit_intents(range(len(self._vectors)))
        slots = self._fit_slots() if self._samples.has_slots else self._slots
        negatives = _vectors(self._encoder.read_tokens(self._negatives), self._encoder)
        several = self._samples.several
        judged = judged_by_others(self._vectors, self._samples.wanted, negatives, intents, several=several)
        return _Fitted(self._encoder, (), intents, slots, self._vectors, negatives, judged)

    def tuned(self) -> _Fitted:
        beginning = Beginning(self._slots, self._negatives, self._fit_intents)
        tuned = tune(self._samples, self._encoder, beginning, self._seed, self._progress)
        encoder = self._encoder.tuned(tuned.layers)
        known = _vectors(encoder.read_tokens([read.tokens for read in self._reads]), encoder)
        negatives = _vectors(encoder.read_tokens(self._negatives), encoder)
        return _Fitted(encoder, tuned.layers, tuned.intents, tuned.slots, known, negatives, tuned.judged)

    def _fit_intents(self, examples: Sequence[int]) -> tuple[Tensor, Tensor]:
        """On these examples, and the names of intents that have few as examples, too."""
        self._progress("fitting intents")
        chosen = list(examples)
        named = _vectors(self._encoder.read_tokens([name.tokens for name in self._samples.names]), self._encoder)
        return fit_intents(
            torch.cat([self._vectors[chosen], named]),
            torch.cat([self._samples.wanted[chosen], self._samples.names_wanted]),
            several=self._samples.several,
        )

    def _fit_slots(self) -> SlotLayers:
        self._progress("fitting slots")
        variants = [sample for several in self._samples.variants for sample in several]
        reads = self._encoder.read_tokens([sample.tokens for sample in variants])
        inputs = [
            torch.cat([read.states, sample.constants], dim=1) for read, sample in zip(reads, variants, strict=True)
        ]
        return fit_slots(self._slots, inputs, [sample.labels for sample in variants], self._seed)


def _heads(examples: Examples, samples: Samples, fitted: _Fitted, options: TrainingOptions) -> Heads:
    judged = fitted.judged
    scope = fit_scope(judged.inside, judged.outside, options.rejected)
    sentiments, sentiment_weight, sentiment_bias = _sentiment(samples, fitted.known)
    card = Card(
        encoder=fitted.encoder.version,
        encoder_name=fitted.encoder.name,
        intents=samples.intents,
        several=samples.several,
        balance=fit_balance(judged, several=samples.several),
        threshold=scope.threshold,
        rejected=options.rejected,
        slot_labels=samples.labels,
        synonyms=examples.synonyms,
        lookups=samples.patterns.lookups,
        regexes=samples.patterns.regexes,
        unmarked=samples.unmarked,
        sentiments=sentiments,
        tuned_layers=len(fitted.layers),
        examples=len(examples.examples),
        examples_hash=examples.hash,
        seed=options.seed,
    )
    weights = Weights(
        intent_weight=fitted.intents[0],
        intent_bias=fitted.intents[1],
        known=fitted.known,
        known_intents=samples.wanted.to(torch.uint8),
        negatives=fitted.negatives,
        scope_mean=scope.mean,
        scope_scale=scope.scale,
        scope_weight=scope.weight,
        slots=fitted.slots,
        sentiment_weight=sentiment_weight,
        sentiment_bias=sentiment_bias,
    )
    return Heads(card, weights, fitted.layers, fitted.encoder)


def _sentiment(samples: Samples, vectors: Tensor) -> tuple[tuple[str, ...], Tensor, Tensor]:
    """Labels, weight and bias of the sentiment, from the examples that have one; of at least two different ones."""
    marked = [at for at, example in enumerate(samples.examples) if example.sentiment]
    labels = tuple(name for name in SENTIMENTS if any(samples.examples[at].sentiment == name for at in marked))
    if len(labels) < 2:
        return (), torch.zeros(0, vectors.shape[1]), torch.zeros(0)
    wanted = torch.tensor([[float(samples.examples[at].sentiment == name) for name in labels] for at in marked])
    return labels, *fit_intents(vectors[marked], wanted, several=False)


def _vectors(reads: Sequence[Read], encoder: TextEncoder) -> Tensor:
    return torch.stack([read.vector for read in reads]) if reads else torch.zeros(0, encoder.text_width)
