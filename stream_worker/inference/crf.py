"""A linear chain over the labels of a text's words (Lafferty et al., 2001): loss, best path, and how sure it is.

Texts of a batch are padded; `there` is bool [texts, longest], false for padding. Labels are 0 to `labels`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

IMPOSSIBLE = -1e4


@dataclass(frozen=True, slots=True)
class Chain:
    """`steps`: float32 [labels, labels], from a label to the next; `first` and `last`: [labels]."""

    steps: Tensor
    first: Tensor
    last: Tensor


def padded(rows: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor]:
    """[texts, longest, ...] of rows that follow each other, and which of them are there."""
    there = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    return pad_sequence(list(torch.split(rows, lengths)), batch_first=True), there


def negative_log_likelihood(scores: Tensor, there: Tensor, labels: Tensor, chain: Chain) -> Tensor:
    """[texts], of `labels` int64 [texts, longest] under `scores` [texts, longest, labels]."""
    reached = chain.first + scores[:, 0]
    own = scores.gather(2, labels.unsqueeze(2)).squeeze(2)
    path = chain.first[labels[:, 0]] + own[:, 0]
    for at in range(1, scores.shape[1]):
        present = there[:, at]
        further = torch.logsumexp(reached.unsqueeze(2) + chain.steps, 1) + scores[:, at]
        reached = torch.where(present.unsqueeze(1), further, reached)
        path = path + torch.where(present, chain.steps[labels[:, at - 1], labels[:, at]] + own[:, at], 0.0)
    ends = labels.gather(1, there.sum(1, keepdim=True) - 1).squeeze(1)
    return torch.logsumexp(reached + chain.last, 1) - path - chain.last[ends]


def best_paths(scores: Tensor, there: Tensor, chain: Chain) -> Tensor:
    """int64 [texts, longest]; what stands in padding means nothing."""
    texts, longest, labels = scores.shape
    reached = chain.first + scores[:, 0]
    # In padding every label is reached from itself, so the last real label comes through unchanged.
    itself = torch.arange(labels).expand(texts, labels)
    came_from: list[Tensor] = []
    for at in range(1, longest):
        present = there[:, at].unsqueeze(1)
        best, before = (reached.unsqueeze(2) + chain.steps).max(1)
        reached = torch.where(present, best + scores[:, at], reached)
        came_from.append(torch.where(present, before, itself))
    path = [(reached + chain.last).argmax(1)]
    for before in reversed(came_from):
        path.append(before.gather(1, path[-1].unsqueeze(1)).squeeze(1))
    return torch.stack(path[::-1], 1)


def marginals(scores: Tensor, there: Tensor, chain: Chain) -> Tensor:
    """[texts, longest, labels]: how likely each label of each word is, all paths together."""
    longest = scores.shape[1]
    ahead = [chain.first + scores[:, 0]]
    for at in range(1, longest):
        further = torch.logsumexp(ahead[-1].unsqueeze(2) + chain.steps, 1) + scores[:, at]
        ahead.append(torch.where(there[:, at].unsqueeze(1), further, ahead[-1]))
    behind = [chain.last.expand_as(ahead[0])]
    for at in range(longest - 1, 0, -1):
        further = torch.logsumexp((behind[-1] + scores[:, at]).unsqueeze(1) + chain.steps, 2)
        behind.append(torch.where(there[:, at].unsqueeze(1), further, behind[-1]))
    return (torch.stack(ahead, 1) + torch.stack(behind[::-1], 1)).softmax(-1)
