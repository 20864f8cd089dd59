"""BIO labels of slots: from spans to labels of tokens, and back by the best valid path. Plain values.

What always holds: a slot begins with `B-name` and goes on with `I-name`, and a
word that the tokenizer cut in pieces is wholly in a slot or wholly outside.
Two slots of one name never touch: words side by side are one value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
from torch import Tensor

from stream_worker.inference.ideographs import is_ideograph

OUTSIDE = "O"
Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Found:
    """A slot in a text; `end` is one past its last code point."""

    name: str
    start: int
    end: int
    score: float


def label_names(slots: Sequence[str]) -> tuple[str, ...]:
    return (OUTSIDE, *(f"{kind}-{slot}" for slot in slots for kind in "BI"))


def token_labels(spans: Spans, marked: Sequence[tuple[str, int, int]]) -> list[str]:
    """The label of each token, from slots as (name, start, end)."""
    labels = [OUTSIDE] * len(spans)
    for name, start, end in marked:
        inside = [index for index, (first, last) in enumerate(spans) if first < end and last > start]
        for index in inside:
            labels[index] = f"B-{name}" if index == inside[0] else f"I-{name}"
    return labels


def find_slots(text: str, spans: Spans, scores: Tensor, labels: tuple[str, ...]) -> list[Found]:
    """The slots of the likeliest valid path. `scores`: float32 [tokens, labels], logarithms of probabilities."""
    if not spans:
        return []
    goes_on = [False, *(_goes_on(text, before, after) for before, after in pairwise(spans))]
    path = _best_path(scores, labels, goes_on)
    found: list[Found] = []
    start = 0
    while start < len(path):
        if labels[path[start]] == OUTSIDE:
            start += 1
            continue
        name = labels[path[start]][2:]
        end = start + 1
        while end < len(path) and labels[path[end]] == f"I-{name}":
            end += 1
        certainty = min(float(scores[index, path[index]].exp()) for index in range(start, end))
        found.append(_trimmed(text, Found(name, spans[start][0], spans[end - 1][1], certainty)))
        start = end
    return [slot for slot in found if slot.end > slot.start]


def _best_path(scores: Tensor, labels: tuple[str, ...], goes_on: Sequence[bool]) -> list[int]:
    """Each token's best label where these make a valid path, as they mostly do; else the best valid path."""
    best_alone: list[int] = scores.argmax(-1).tolist()
    return best_alone if _is_valid(best_alone, labels, goes_on) else _viterbi(scores, labels, goes_on)


def _is_valid(path: Sequence[int], labels: tuple[str, ...], goes_on: Sequence[bool]) -> bool:
    if not any(path):
        return True  # nothing but OUTSIDE, which is the first label
    free, glued, first = _transitions(labels)
    steps = zip(pairwise(path), goes_on[1:], strict=True)
    return bool(first[path[0]] == 0) and all((glued if on else free)[step] == 0 for step, on in steps)


def _viterbi(scores: Tensor, labels: tuple[str, ...], goes_on: Sequence[bool]) -> list[int]:
    free, glued, first = _transitions(labels)
    best = scores[0] + first
    came_from: list[Tensor] = []
    for index in range(1, len(scores)):
        reached, previous = (best.unsqueeze(1) + (glued if goes_on[index] else free)).max(0)
        came_from.append(previous)
        best = reached + scores[index]
    path = [int(best.argmax())]
    for previous in reversed(came_from):
        path.append(int(previous[path[-1]]))
    return path[::-1]


@cache
def _transitions(labels: tuple[str, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """0 where allowed and -inf elsewhere: between words, inside a word, at the start of the text."""

    def row(allowed: Sequence[bool]) -> list[float]:
        return [0.0 if yes else float("-inf") for yes in allowed]

    def continues(before: str, after: str) -> bool:
        return after.startswith("I-") and before[2:] == after[2:]

    def begins(before: str, after: str) -> bool:
        return not after.startswith("I-") and (after == OUTSIDE or before[2:] != after[2:])

    free = [row([begins(a, b) or continues(a, b) for b in labels]) for a in labels]
    glued = [row([a == b == OUTSIDE or continues(a, b) for b in labels]) for a in labels]
    first = row([not label.startswith("I-") for label in labels])
    return torch.tensor(free), torch.tensor(glued), torch.tensor(first)


def _goes_on(text: str, before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether a token is a later piece of the word that the one before it began; ideographs stand for themselves."""
    if before[1] != after[0] or not 0 < after[0] < len(text):
        return False
    beside = text[after[0] - 1 : after[0] + 1]
    return all(character.isalnum() and not is_ideograph(character) for character in beside)


def _trimmed(text: str, found: Found) -> Found:
    """Some tokenizers count the space before a word to the word."""
    value = text[found.start : found.end]
    start = found.start + len(value) - len(value.lstrip())
    return Found(found.name, start, max(start, found.start + len(value.rstrip())), found.score)
