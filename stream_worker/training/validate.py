"""What is likely wrong with examples, before anything is trained on them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

import torch

from stream_worker.inference.nearest import intent_scores
from stream_worker.inference.text_encoder import TextEncoder
from stream_worker.training.examples import Example, Examples
from stream_worker.training.fit import all_judged_by_others, fit_balance
from stream_worker.training.samples import Samples, make_samples

TINY = 5
"""An intent with fewer examples is hardly learnt."""

_OTHER_SCORE = 0.5
"""Another intent than the example's own is at least this likely ..."""

_OWN_SCORE = 0.1
"""... and its own at most this."""

_MARKED_SHARE = 0.5
"""A value that is marked at least so often where it occurs should be marked always."""


class Kind(StrEnum):
    DUPLICATE = "duplicate"
    CONTRADICTION = "same_text_other_intent"
    TINY_INTENT = "tiny_intent"
    LIKELY_MISLABELLED = "likely_mislabelled"
    NEVER_MARKED = "slot_never_marked"
    UNMARKED = "slot_value_not_marked"


@dataclass(frozen=True, slots=True)
class Finding:
    """`place` is file and line, or empty where the whole set is meant; `what` is for people."""

    kind: Kind
    place: str
    what: str


def validate(examples: Examples, encoder: TextEncoder) -> list[Finding]:
    """All findings, those that need no encoder first."""
    findings = [*_duplicates(examples), *_tiny(examples), *_never_marked(examples), *_unmarked(examples)]
    if len(examples.intents) > 1:
        findings += _mislabelled(make_samples(examples, encoder, Random(0)), encoder)  # noqa: S311
    return findings


def _duplicates(examples: Examples) -> Iterator[Finding]:
    by_text: dict[str, list[Example]] = defaultdict(list)
    for example in examples.examples:
        by_text[" ".join(example.text.lower().split())].append(example)
    for same in by_text.values():
        first, *rest = same
        for other in rest:
            if other.intent != first.intent:
                what = f"the text of {first.place} is {other.intent} here and {first.intent} there"
                yield Finding(Kind.CONTRADICTION, other.place, what)
            else:
                yield Finding(Kind.DUPLICATE, other.place, f"the same text is at {first.place}")


def _tiny(examples: Examples) -> Iterator[Finding]:
    counts = Counter(name for example in examples.examples for name in example.intents)
    places = {name: example.place for example in reversed(examples.examples) for name in example.intents}
    for name, count in sorted(counts.items()):
        if count < TINY:
            yield Finding(Kind.TINY_INTENT, places[name], f"{name} has {count} examples; give it {TINY} or more")


def _never_marked(examples: Examples) -> Iterator[Finding]:
    marked = set(examples.slot_names)
    for name in sorted({*examples.lookups, *examples.regexes} - marked):
        what = (
            f"no example marks {name}: only what its list or expression has will be found, whatever is said around it"
        )
        yield Finding(Kind.NEVER_MARKED, "", what)


def _unmarked(examples: Examples) -> Iterator[Finding]:
    """Values that are mostly marked, where they are not."""
    marks: Counter[tuple[str, str]] = Counter()
    for example in examples.examples:
        marks.update((example.text[slot.start : slot.end].lower(), slot.name) for slot in example.slots)
    values = dict(marks)
    bare: dict[tuple[str, str], list[Example]] = defaultdict(list)
    for example in examples.examples:
        taken = {at for slot in example.slots for at in range(slot.start, slot.end)}
        for value, name in values:
            if _occurs_bare(example.text.lower(), value, taken):
                bare[value, name].append(example)
    for (value, name), found in sorted(bare.items()):
        if values[value, name] >= _MARKED_SHARE * (values[value, name] + len(found)) and values[value, name] > 1:
            for example in found:
                # The value is part of the user's examples, which are theirs to read.
                yield Finding(Kind.UNMARKED, example.place, f"{value!r} is marked as {name} elsewhere, and not here")


def _occurs_bare(text: str, value: str, taken: Iterable[int]) -> bool:
    at = text.find(value)
    if at < 0 or any(place in taken for place in range(at, at + len(value))):
        return False
    around = text[at - 1 : at] + text[at + len(value) : at + len(value) + 1]
    return not value.isascii() or not any(map(str.isalnum, around))


def _mislabelled(samples: Samples, encoder: TextEncoder) -> Iterator[Finding]:
    """Examples of which those trained without them are sure that they are something else.

    As in confident learning (Northcutt et al., 2021, arXiv:1911.00068), with fixed bounds.
    """
    reads = encoder.read_tokens([variants[0].tokens for variants in samples.variants])
    vectors = torch.stack([read.vector for read in reads])
    judged = all_judged_by_others(vectors, samples.wanted, several=samples.several)
    balance = fit_balance(judged, several=samples.several)
    scores = intent_scores(judged.logits, judged.voices, balance, several=samples.several)
    for at, row in zip(judged.order, scores.tolist(), strict=True):
        example = samples.examples[at]
        own = max(row[samples.intents.index(name)] for name in example.intents)
        best = max(range(len(row)), key=row.__getitem__)
        if own <= _OWN_SCORE and row[best] >= _OTHER_SCORE:
            what = (
                f"labelled {example.intent}, and reads like {samples.intents[best]} ({row[best]:.2f} against {own:.2f})"
            )
            yield Finding(Kind.LIKELY_MISLABELLED, example.place, what)
