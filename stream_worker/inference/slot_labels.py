"""BIO labels of slots: from spans to labels of words, and back. Pure.

A label is `O`, or `B-` or `I-` and a slot's name, with its role and group where it has any: `B-city/from`. What always
holds: a slot begins with `B-` and goes on with `I-` of the same name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stream_worker.inference.words import Word

OUTSIDE = "O"


@dataclass(frozen=True, slots=True)
class SlotKind:
    """What a label says of its words."""

    name: str
    role: str | None = None
    group: str | None = None

    @property
    def label(self) -> str:
        parts = [self.name, self.role or "", self.group or ""]
        return "\t".join(parts).rstrip("\t")


def kind_of(label: str) -> SlotKind:
    """Of a label that is not `O`."""
    name, role, group = (*label[2:].split("\t"), "", "")[:3]
    return SlotKind(name, role or None, group or None)


def label_names(kinds: Sequence[SlotKind]) -> tuple[str, ...]:
    return (OUTSIDE, *(f"{position}-{kind.label}" for kind in kinds for position in "BI"))


def word_labels(words: Sequence[Word], marked: Sequence[tuple[SlotKind, int, int]]) -> list[str]:
    """The label of each word, from slots as (kind, start, end); a word is in a slot that has part of it."""
    labels = [OUTSIDE] * len(words)
    for kind, start, end in marked:
        inside = [at for at, word in enumerate(words) if word.start < end and word.end > start]
        for at in inside:
            labels[at] = f"{'B' if at == inside[0] else 'I'}-{kind.label}"
    return labels


def labelled_words(labels: Sequence[str]) -> list[tuple[SlotKind, int, int]]:
    """The slots as (kind, first word, one past the last)."""
    found: list[tuple[SlotKind, int, int]] = []
    start = 0
    while start < len(labels):
        if labels[start] == OUTSIDE:
            start += 1
            continue
        end = start + 1
        while end < len(labels) and labels[end] == f"I-{labels[start][2:]}":
            end += 1
        found.append((kind_of(labels[start]), start, end))
        start = end
    return found


def may_follow(before: str, after: str) -> bool:
    """Whether this label may stand after that one."""
    return not after.startswith("I-") or before[2:] == after[2:]
