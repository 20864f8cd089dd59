"""What training fills: intents, scope, slots and sentiment, light heads on an encoder.

What always holds: heads are used only with the encoder they were trained on, and whose last layers they may bring.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stream_worker.inference.crf import best_paths, marginals, padded
from stream_worker.inference.nearest import Balance, Nearest, intent_scores, nearest
from stream_worker.inference.patterns import Patterns
from stream_worker.inference.slot_labels import labelled_words
from stream_worker.inference.slot_layers import SlotLayers
from stream_worker.inference.text_encoder import Read, TextEncoder
from stream_worker.inference.word_inputs import constant_inputs
from stream_worker.orders import IntentScore, Sentiment, SlotSpan

SEVERAL = 0.5
"""Where messages may have several intents, each with at least this score is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is known of trained heads besides their weights."""

    encoder: str
    """The version of its weights."""

    encoder_name: str
    """What it is loaded by."""

    intents: tuple[str, ...]
    several: bool
    """Whether a message may have several intents: then each score is a probability of its own."""

    balance: Balance
    """Of what makes up an intent's score, so that it is how often the intent is right."""

    threshold: float
    """A text whose scope is lower is out of scope."""

    rejected: float
    """The part of messages in scope that the threshold was set to miss."""

    slot_labels: tuple[str, ...]
    synonyms: dict[str, str]
    """What a slot's text, in lower case, stands for."""

    lookups: dict[str, tuple[str, ...]]
    regexes: dict[str, tuple[str, ...]]
    unmarked: tuple[str, ...]
    """Lists and expressions that no example marks: what they match is a slot."""

    sentiments: tuple[str, ...]
    """Labels of a trained sentiment; none: a lexicon judges."""

    tuned_layers: int
    """How many of the encoder's last layers were tuned, and are among the weights."""

    examples: int
    examples_hash: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """float32 on CPU; `width` is that of what the encoder says of a text."""

    intent_weight: Tensor
    """[intents, width]"""

    intent_bias: Tensor
    """[intents]"""

    known: Tensor
    """[examples, width]: vectors of the training examples in scope."""

    known_intents: Tensor
    """uint8 [examples, intents]: 1 where an example has the intent."""

    negatives: Tensor
    """[negatives, width]: vectors of the examples out of scope; may be none."""

    scope_mean: Tensor
    """[3], of the familiarity of examples in scope"""

    scope_scale: Tensor
    """[3]"""

    scope_weight: Tensor
    """[4]: of the three familiarities, and the constant"""

    slots: SlotLayers

    sentiment_weight: Tensor
    """[sentiments, width]"""

    sentiment_bias: Tensor
    """[sentiments]"""


@dataclass(frozen=True, slots=True)
class Understanding:
    """What the heads say of one text."""

    intents: tuple[IntentScore, ...]
    """Every intent, best first."""

    scope: float
    """From 0 to 1: how sure it is that the text is in scope."""

    in_scope: bool
    slots: tuple[SlotSpan, ...]
    sentiment: Sentiment | None
    """None: no sentiment was trained."""


@dataclass(frozen=True)
class Heads:
    """Heads and the encoder they are for, with its tuned layers if they have any."""

    card: Card
    weights: Weights
    layers: tuple[dict[str, Tensor], ...]
    """The encoder's tuned last layers."""

    encoder: TextEncoder

    @cached_property
    def patterns(self) -> Patterns:
        return Patterns(self.card.lookups, self.card.regexes)

    def understand(self, texts: Sequence[str]) -> list[Understanding]:
        return self.judge(self.encoder.read(texts))

    def judge(self, reads: Sequence[Read]) -> list[Understanding]:
        """What the encoder read, judged."""
        if not reads:
            return []
        vectors = torch.stack([read.vector for read in reads])
        logits = self.intent_logits(vectors)
        near = nearest(vectors, self.weights.known)
        scopes = self.scopes(vectors, logits, near)
        # Nothing was said, whatever the encoder makes of its marks around it.
        spoken = torch.tensor([bool(read.tokens.words) for read in reads])
        scopes = scopes.where(spoken, 0.0)
        scores = intent_scores(
            logits, near.voices(self.weights.known_intents), self.card.balance, several=self.card.several
        )
        slots = self._slots(reads)
        sentiments = self._sentiments(vectors)
        return [
            Understanding(self._ranked(row), scope, said and scope >= self.card.threshold, found, sentiment)
            for row, said, scope, found, sentiment in zip(
                scores.tolist(), spoken.tolist(), scopes.tolist(), slots, sentiments, strict=True
            )
        ]

    def intent_logits(self, vectors: Tensor) -> Tensor:
        """[texts, intents], not yet calibrated."""
        return vectors @ self.weights.intent_weight.T + self.weights.intent_bias

    def scopes(self, vectors: Tensor, logits: Tensor, near: Nearest) -> Tensor:
        """[texts], from 0 to 1."""
        weights = self.weights
        measured = familiarity(vectors, logits, near, weights.negatives)
        normal = (measured - weights.scope_mean) / weights.scope_scale
        return (normal @ weights.scope_weight[:3] + weights.scope_weight[3]).sigmoid()

    def _ranked(self, scores: list[float]) -> tuple[IntentScore, ...]:
        scored = [IntentScore(name, score) for name, score in zip(self.card.intents, scores, strict=True)]
        return tuple(sorted(scored, key=lambda intent: -intent.score))

    def _slots(self, reads: Sequence[Read]) -> list[tuple[SlotSpan, ...]]:
        found: list[list[SlotSpan]] = [self._unmarked(read) for read in reads]
        full = [at for at, read in enumerate(reads) if read.tokens.words]
        if len(self.card.slot_labels) > 1 and full:
            states = torch.cat([reads[at].states for at in full])
            constants = torch.cat([constant_inputs(reads[at].tokens, self.patterns) for at in full])
            lengths = [len(reads[at].tokens.words) for at in full]
            slots = self.weights.slots
            scores, there = padded(slots.scores(torch.cat([states, constants], dim=1)), lengths)
            paths = best_paths(scores, there, slots.chain).tolist()
            likely = marginals(scores, there, slots.chain)
            for row, at in enumerate(full):
                found[at] += self._spans(reads[at], paths[row][: lengths[row]], likely[row])
        return [tuple(sorted(slots, key=lambda slot: slot.start)) for slots in found]

    def _spans(self, read: Read, path: list[int], likely: Tensor) -> list[SlotSpan]:
        spans: list[SlotSpan] = []
        for kind, first, last in labelled_words([self.card.slot_labels[label] for label in path]):
            score = min(float(likely[at, path[at]]) for at in range(first, last))
            spans.append(self._span(read, kind.name, first, last, score, kind.role, kind.group))
        return spans

    def _unmarked(self, read: Read) -> list[SlotSpan]:
        if not self.card.unmarked:
            return []
        matches = self.patterns.find(read.tokens.text, read.tokens.words)
        return [
            self._span(read, match.name, match.first, match.last, 1.0)
            for match in matches
            if match.name in self.card.unmarked
        ]

    def _span(
        self,
        read: Read,
        name: str,
        first: int,
        last: int,
        score: float,
        role: str | None = None,
        group: str | None = None,
    ) -> SlotSpan:
        start, end = read.tokens.words[first].start, read.tokens.words[last - 1].end
        text = read.tokens.text[start:end]
        return SlotSpan(name, self.card.synonyms.get(text.lower(), text), start, end, score, role, group)

    def _sentiments(self, vectors: Tensor) -> list[Sentiment | None]:
        if not self.card.sentiments:
            return [None] * len(vectors)
        scores = (vectors @ self.weights.sentiment_weight.T + self.weights.sentiment_bias).softmax(-1)
        best = scores.max(-1)
        return [
            Sentiment(self.card.sentiments[which], score)
            for which, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]


def familiarity(vectors: Tensor, logits: Tensor, near: Nearest, negatives: Tensor) -> Tensor:
    """How a text stands to the training examples: float32 [texts, 3], more is more familiar.

    The best intent's logit, the likeness to the nearest examples, and the unlikeness to the nearest negative.
    """
    unlike = -(vectors @ negatives.T).amax(-1) if len(negatives) else torch.zeros(len(vectors))
    return torch.stack([logits.amax(-1), near.likeness.mean(-1), unlike], dim=-1)
