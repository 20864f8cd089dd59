"""How well heads understand examples that they were not trained on."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from random import Random

from stream_worker.inference.heads import SEVERAL, Heads, Understanding
from stream_worker.inference.text_encoder import TextEncoder
from stream_worker.training.examples import OUT_OF_SCOPE, Example, Examples
from stream_worker.training.scores import (
    Bin,
    Counts,
    Point,
    area_under_roc,
    calibration_error,
    reliability,
    scope_curve,
    together,
)
from stream_worker.training.train import TrainingOptions, train

_BATCH = 32
FALSE_ALARMS = 0.03
"""The part of messages in scope rejected, at which it is said how many out of scope are found."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One example and what was understood of it. `intents` as in the examples: `a`, `a+b`, or `out_of_scope`."""

    example: Example
    understood: Understanding
    found: str

    @property
    def right(self) -> bool:
        return self.found == "+".join(sorted(self.example.intents))

    @property
    def id(self) -> str:
        """The same for the same text and intent, and says nothing of them."""
        content = f"{self.example.text}\n{self.example.intent}".encode("utf-8", "surrogatepass")
        return blake2b(content, digest_size=8).hexdigest()

    @property
    def slot_errors(self) -> bool:
        return _expected_slots(self.example) != _found_slots(self.understood)


@dataclass(frozen=True, slots=True)
class ScopeQuality:
    """How well messages in and out of scope are told apart, with whatever threshold."""

    area_under_roc: float
    found_at_false_alarms: float
    """Of those out of scope, with `FALSE_ALARMS` of those in scope rejected."""

    rejected: float
    """Of those in scope, with the threshold as it is."""

    found: float
    """Of those out of scope, with the threshold as it is."""

    curve: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`accuracy` counts a text out of scope as right when it was taken for that; `accuracy_in_scope` is that of the
    best intent where there is one, whatever the threshold."""

    examples: int
    accuracy: float
    accuracy_in_scope: float
    intents: dict[str, Counts]
    slots: dict[str, Counts]
    calibration_error: float
    reliability: tuple[Bin, ...]
    scope: ScopeQuality | None
    """None without examples out of scope."""

    confusion: dict[tuple[str, str], int]
    """How often the first was taken for the second."""

    milliseconds: float
    """A message, in batches of 32, all told."""

    verdicts: tuple[Verdict, ...]

    @property
    def slot_f1(self) -> float:
        """Over all slots together; a slot is right when its name, role, group and both ends are."""
        return together(tuple(self.slots.values())).f1

    @property
    def lowest(self) -> float:
        """The lower of accuracy and, where there are slots, their F1."""
        return min(self.accuracy, self.slot_f1) if self.slots else self.accuracy


def evaluate(heads: Heads, examples: Examples) -> Evaluation:
    """The heads against these examples."""
    verdicts, seconds = _ask(heads, examples.examples)
    return _summary(verdicts, seconds)


def cross_validate(
    examples: Examples, encoder: TextEncoder, folds: int, options: TrainingOptions, progress: Callable[[str], None]
) -> Evaluation:
    """Each example against heads that were trained without its fold; every fold has a share of each intent."""
    order = list(range(len(examples.examples)))
    Random(options.seed).shuffle(order)  # noqa: S311  # not for security: the same folds for the same seed
    order.sort(key=lambda index: examples.examples[index].intent)
    verdicts: list[Verdict] = []
    seconds = 0.0
    for fold in range(folds):
        progress(f"fold {fold + 1} of {folds}")
        held_out = set(order[fold::folds])
        kept = examples.only([index for index in range(len(order)) if index not in held_out])
        heads = train(kept, encoder, replace(options, seed=options.seed + fold), progress)
        own, spent = _ask(heads, [examples.examples[index] for index in sorted(held_out)])
        verdicts += own
        seconds += spent
    return _summary(verdicts, seconds)


def best_intent(understood: Understanding, *, several: bool = False) -> str:
    """`out_of_scope`, the best intent, or where there may be several all that are likely, in order of their names."""
    if not understood.in_scope:
        return OUT_OF_SCOPE
    if not several:
        return understood.intents[0].name
    likely = sorted(intent.name for intent in understood.intents if intent.score >= SEVERAL)
    return "+".join(likely or [understood.intents[0].name])


def _ask(heads: Heads, examples: Sequence[Example]) -> tuple[list[Verdict], float]:
    verdicts: list[Verdict] = []
    started = time.monotonic()
    for start in range(0, len(examples), _BATCH):
        part = examples[start : start + _BATCH]
        answers = heads.understand([example.text for example in part])
        verdicts += [
            Verdict(example, answer, best_intent(answer, several=heads.card.several))
            for example, answer in zip(part, answers, strict=True)
        ]
    return verdicts, time.monotonic() - started


def _summary(verdicts: Sequence[Verdict], seconds: float) -> Evaluation:
    inside = [verdict for verdict in verdicts if verdict.example.in_scope]
    hits = [verdict.understood.intents[0].name in verdict.example.intents for verdict in inside]
    bins = reliability([verdict.understood.intents[0].score for verdict in inside], hits)
    pairs = Counter(("+".join(sorted(verdict.example.intents)), verdict.found) for verdict in verdicts)
    return Evaluation(
        examples=len(verdicts),
        accuracy=sum(verdict.right for verdict in verdicts) / max(1, len(verdicts)),
        accuracy_in_scope=sum(hits) / max(1, len(hits)),
        intents=_intent_counts(verdicts),
        slots=_slot_counts(verdicts),
        calibration_error=calibration_error(bins),
        reliability=tuple(bins),
        scope=_scope(verdicts),
        confusion=dict(pairs),
        milliseconds=1000 * seconds / max(1, len(verdicts)),
        verdicts=tuple(verdicts),
    )


def _scope(verdicts: Sequence[Verdict]) -> ScopeQuality | None:
    inside = [verdict.understood for verdict in verdicts if verdict.example.in_scope]
    outside = [verdict.understood for verdict in verdicts if not verdict.example.in_scope]
    if not inside or not outside:
        return None
    scores = [one.scope for one in inside], [one.scope for one in outside]
    curve = scope_curve(*scores)
    return ScopeQuality(
        area_under_roc=area_under_roc(*scores),
        found_at_false_alarms=max(point.found for point in curve if point.rejected <= FALSE_ALARMS),
        rejected=sum(not one.in_scope for one in inside) / len(inside),
        found=sum(not one.in_scope for one in outside) / len(outside),
        curve=tuple(curve),
    )


def _intent_counts(verdicts: Sequence[Verdict]) -> dict[str, Counts]:
    pairs = [(set(verdict.example.intents), set(verdict.found.split("+"))) for verdict in verdicts]
    names = sorted({name for pair in pairs for side in pair for name in side})
    return {
        name: Counts(
            right=sum(name in wanted and name in got for wanted, got in pairs),
            wrong=sum(name not in wanted and name in got for wanted, got in pairs),
            missed=sum(name in wanted and name not in got for wanted, got in pairs),
        )
        for name in names
    }


_Slot = tuple[str, str | None, str | None, int, int]


def _expected_slots(example: Example) -> set[_Slot]:
    return {(slot.name, slot.role, slot.group, slot.start, slot.end) for slot in example.slots}


def _found_slots(understood: Understanding) -> set[_Slot]:
    return {(slot.name, slot.role, slot.group, slot.start, slot.end) for slot in understood.slots}


def _slot_counts(verdicts: Sequence[Verdict]) -> dict[str, Counts]:
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for verdict in verdicts:
        expected, found = _expected_slots(verdict.example), _found_slots(verdict.understood)
        right.update(slot[0] for slot in expected & found)
        wrong.update(slot[0] for slot in found - expected)
        missed.update(slot[0] for slot in expected - found)
    return {name: Counts(right[name], wrong[name], missed[name]) for name in sorted({*right, *wrong, *missed})}
