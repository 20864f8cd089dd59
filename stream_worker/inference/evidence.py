"""Which words spoke for a decision, by either of two methods.

`gradient_x_input` is of the last layer's states, which the heads read: how much of the decision each word's state adds
(Captum calls it layer gradient × activation). It costs one more look at what was read, and is for running workers.
`occlusion` (Zeiler and Fergus, 2014, arXiv:1311.2901) reads each text again without each of its words in turn: what the
decision loses is the word's share. It costs a pass a word, sees how words work together, and is for people who ask why.
Of an intent both look at its head, not at the nearest examples' part in its score.

Gradient × input of the embeddings was tried, too: through the layers' normalisations it said that "weather" speaks
against `weather`. Shares are scaled so that the largest is 1 or -1.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

import torch
from torch import Tensor

from stream_worker.inference.heads import Heads, Understanding, familiarity
from stream_worker.inference.nearest import nearest
from stream_worker.inference.text_encoder import Read
from stream_worker.orders import Evidence, WordWeight


class EvidenceMethod(StrEnum):
    GRADIENT = "gradient_x_input"
    OCCLUSION = "occlusion"


_WORDS = 64
"""Of longer texts the first so many words are looked at."""

Decide = Callable[[Tensor], Tensor]
"""From vectors [texts, width] to how much speaks for a decision: [texts]."""


def explain(heads: Heads, read: Read, answer: Understanding, method: EvidenceMethod) -> tuple[Evidence, ...]:
    """Of the best intent and of the scope; by occlusion of each slot, too. Nothing of a text without words."""
    if not read.tokens.words:
        return ()
    if method is EvidenceMethod.GRADIENT:
        shares = [_gradient(read, decide) for decide in _decisions(heads, answer)]
        return tuple(_evidence(read, *said, method) for said in zip(_outcomes(answer), shares, strict=True))
    return _occluded(heads, read, answer)


def _outcomes(answer: Understanding) -> list[tuple[str, str]]:
    return [("intent", answer.intents[0].name), ("scope", "in_scope" if answer.in_scope else "out_of_scope")]


def _decisions(heads: Heads, answer: Understanding) -> list[Decide]:
    best = heads.card.intents.index(answer.intents[0].name)
    # What speaks against the scope speaks for a text being outside of it.
    sign = 1.0 if answer.in_scope else -1.0

    def intent(vectors: Tensor) -> Tensor:
        logits = heads.intent_logits(vectors)
        return logits[:, best] - logits.mean(1)

    def scope(vectors: Tensor) -> Tensor:
        weights = heads.weights
        measured = familiarity(
            vectors, heads.intent_logits(vectors), nearest(vectors, weights.known), weights.negatives
        )
        normal = (measured - weights.scope_mean) / weights.scope_scale
        return sign * (normal @ weights.scope_weight[:3])

    return [intent, scope]


def _gradient(read: Read, decide: Decide) -> list[float]:
    vector = read.vector.detach().clone().unsqueeze(0).requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(decide(vector).sum(), vector)
    own = read.states @ gradient[0, : read.states.shape[1]]
    return [float(share) * (word.last - word.first) for share, word in zip(own, read.tokens.words, strict=True)]


def _occluded(heads: Heads, read: Read, answer: Understanding) -> tuple[Evidence, ...]:
    words = read.tokens.words[:_WORDS]
    without = [read.tokens.text[: word.start] + read.tokens.text[word.end :] for word in words]
    reads = heads.encoder.read([read.tokens.text, *without])
    vectors = torch.stack([one.vector for one in reads])
    shares: list[list[float]] = []
    for decide in _decisions(heads, answer):
        decided = decide(vectors)
        shares.append((decided[0] - decided[1:]).tolist())
    found = [_outcomes(answer), [("slot", slot.name) for slot in answer.slots]]
    # Of a slot: how much less sure it is of this name somewhere in the text.
    again = heads.judge(reads)
    for slot in answer.slots:
        scores = [max((one.score for one in each.slots if one.name == slot.name), default=0.0) for each in again]
        shares.append([scores[0] - score for score in scores[1:]])
    return tuple(
        _evidence(read, said, own, EvidenceMethod.OCCLUSION)
        for said, own in zip([*found[0], *found[1]], shares, strict=True)
    )


def _evidence(read: Read, said: tuple[str, str], shares: Sequence[float], method: EvidenceMethod) -> Evidence:
    largest = max(map(abs, shares)) or 1.0
    words = tuple(
        WordWeight(word.start, word.end, round(share / largest, 4))
        for word, share in zip(read.tokens.words, shares, strict=False)
    )
    return Evidence(*said, str(method), words)
