"""What training fills: intents, scope and slots, light heads on a frozen encoder.

Kept as `heads.safetensors` and `heads.json` in one folder. What always holds:
heads are used only with the encoder they were trained on, and both files are
of one training.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from stream_worker.errors import Code, Misconfigured, Missing
from stream_worker.inference.frozen import Read
from stream_worker.inference.slot_labels import find_slots
from stream_worker.orders import IntentScore, SlotSpan

FORMAT = 1
_WEIGHTS = "heads.safetensors"
_CARD = "heads.json"
_HASH = "weights_hash"
_NEAREST = 5
"""Training examples whose mean similarity says how familiar a text is."""


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of trained heads besides their weights."""

    format: int
    encoder: str
    intents: tuple[str, ...]
    slot_labels: tuple[str, ...]
    threshold: float
    """A text whose scope is lower is out of scope."""

    synonyms: dict[str, str]
    """What a slot's text, in lower case, stands for."""

    examples: int
    examples_hash: str
    seed: int


@dataclass(frozen=True, slots=True)
class Weights:
    """float32 on CPU; `width` is that of what the encoder says of a text, or of a token."""

    intent_weight: Tensor
    """[intents, width]"""

    intent_bias: Tensor
    """[intents]"""

    known: Tensor
    """[examples, width]: vectors of the training examples in scope."""

    negatives: Tensor
    """[negatives, width]: vectors of the examples out of scope; may be none."""

    scope_mean: Tensor
    """[3], of the familiarity of examples in scope"""

    scope_scale: Tensor
    """[3]"""

    scope_weight: Tensor
    """[4]: of the three familiarities, and the constant"""

    slot_inner_weight: Tensor
    """[inner, width]"""

    slot_inner_bias: Tensor
    """[inner]"""

    slot_outer_weight: Tensor
    """[labels, inner]"""

    slot_outer_bias: Tensor
    """[labels]"""


@dataclass(frozen=True, slots=True)
class Understanding:
    """What the heads say of one text: intents best first."""

    intents: tuple[IntentScore, ...]
    scope: float
    in_scope: bool
    slots: tuple[SlotSpan, ...]


class Heads:
    """Trained heads, ready to use. `understand` is a pure function of what it is given."""

    def __init__(self, card: Card, weights: Weights) -> None:
        self.card = card
        self.weights = weights

    def understand(self, texts: Sequence[str], reads: Sequence[Read]) -> list[Understanding]:
        """One answer for each text, from what the encoder read of it."""
        if not texts:
            return []
        vectors = torch.stack([read.vector for read in reads])
        weights = self.weights
        logits = vectors @ weights.intent_weight.T + weights.intent_bias
        scopes = self._scopes(vectors, logits)
        slots = self._slots(texts, reads)
        return [
            Understanding(self._ranked(row), scope, scope >= self.card.threshold, found)
            for row, scope, found in zip(logits.softmax(-1).tolist(), scopes, slots, strict=True)
        ]

    def _ranked(self, probabilities: list[float]) -> tuple[IntentScore, ...]:
        scored = [IntentScore(name, score) for name, score in zip(self.card.intents, probabilities, strict=True)]
        return tuple(sorted(scored, key=lambda intent: -intent.score))

    def _scopes(self, vectors: Tensor, logits: Tensor) -> list[float]:
        weights = self.weights
        measured = familiarity(vectors, logits, weights.known, weights.negatives)
        normal = (measured - weights.scope_mean) / weights.scope_scale
        scopes: list[float] = (normal @ weights.scope_weight[:3] + weights.scope_weight[3]).sigmoid().tolist()
        return scopes

    def _slots(self, texts: Sequence[str], reads: Sequence[Read]) -> list[tuple[SlotSpan, ...]]:
        weights = self.weights
        tokens = torch.cat([read.tokens for read in reads])
        inner = (tokens @ weights.slot_inner_weight.T + weights.slot_inner_bias).relu()
        scores = (inner @ weights.slot_outer_weight.T + weights.slot_outer_bias).log_softmax(-1)
        pieces = torch.split(scores, [len(read.spans) for read in reads])
        return [self._spans(*item) for item in zip(texts, reads, pieces, strict=True)]

    def _spans(self, text: str, read: Read, scores: Tensor) -> tuple[SlotSpan, ...]:
        found = find_slots(text, read.spans, scores, self.card.slot_labels)
        return tuple(
            SlotSpan(slot.name, self._value(text[slot.start : slot.end]), slot.start, slot.end, slot.score)
            for slot in found
        )

    def _value(self, text: str) -> str:
        return self.card.synonyms.get(text.lower(), text)


def familiarity(vectors: Tensor, logits: Tensor, known: Tensor, negatives: Tensor) -> Tensor:
    """How a text stands to the training examples: float32 [texts, 3], more is more familiar.

    The best intent's logit, the likeness to the nearest examples, and the unlikeness to the nearest negative.
    """
    likeness = (vectors @ known.T).topk(min(_NEAREST, len(known)), dim=-1).values.mean(-1)
    unlike = -(vectors @ negatives.T).amax(-1) if len(negatives) else torch.zeros(len(vectors))
    return torch.stack([logits.amax(-1), likeness, unlike], dim=-1)


def save_heads(heads: Heads, folder: Path) -> None:
    """Writes both files; an existing folder's heads are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({field.name: getattr(heads.weights, field.name).contiguous() for field in fields(Weights)})
    card = {**asdict(heads.card), _HASH: _hash(weights)}
    (folder / _WEIGHTS).write_bytes(weights)
    (folder / _CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def load_heads(folder: Path, encoder: str) -> Heads:
    """The heads of a folder, for the encoder of this version.

    Raises Missing when there are none, Misconfigured when they do not fit.
    """
    try:
        card: Any = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        weights = (folder / _WEIGHTS).read_bytes()
    except FileNotFoundError as error:
        raise Missing(
            Code.HEADS_NOT_FOUND,
            f"no trained understanding in {folder}; make it with: stream-worker nlu train EXAMPLES -o {folder}",
        ) from error
    except (OSError, ValueError) as error:
        raise _unsuitable(folder, f"cannot be read ({error})") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise _unsuitable(folder, f"is not of format {FORMAT}, which this version reads")
    # Written one after the other, so a training that was killed may leave one of each.
    if card.pop(_HASH, None) != _hash(weights) or set(card) != {field.name for field in fields(Card)}:
        raise _unsuitable(folder, f"has a {_CARD} and a {_WEIGHTS} that do not belong together")
    if card["encoder"] != encoder:
        raise _unsuitable(folder, f"was trained on the encoder {card['encoder']}, not on {encoder}")
    card.update(intents=tuple(card["intents"]), slot_labels=tuple(card["slot_labels"]))
    return Heads(Card(**card), Weights(**load(weights)))


def _hash(weights: bytes) -> str:
    return blake2b(weights, digest_size=8).hexdigest()


def _unsuitable(folder: Path, what: str) -> Misconfigured:
    return Misconfigured(
        Code.HEADS_UNSUITABLE,
        f"the trained understanding in {folder} {what}; train again: stream-worker nlu train EXAMPLES -o {folder}",
    )
