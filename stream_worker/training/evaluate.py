"""How well heads understand examples that they were not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from stream_worker.inference.frozen import FrozenEncoder
from stream_worker.inference.heads import Heads, Understanding
from stream_worker.training.examples import OUT_OF_SCOPE, Example, Examples
from stream_worker.training.train import train


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one intent, or of one slot: right, found though it was not there, and missed."""

    right: int
    wrong: int
    missed: int

    # Each is 1 where there was nothing to find and nothing was found.

    @property
    def precision(self) -> float:
        return _share(self.right, self.wrong)

    @property
    def recall(self) -> float:
        return _share(self.right, self.missed)

    @property
    def f1(self) -> float:
        return _share(2 * self.right, self.wrong + self.missed)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`accuracy` counts a text out of scope as right when it was taken for that."""

    examples: int
    accuracy: float
    intents: dict[str, Counts]
    slots: dict[str, Counts]

    @property
    def slot_f1(self) -> float:
        """Over all slots together; a slot is right when its name and both ends are."""
        slots = self.slots.values()
        return Counts(
            sum(slot.right for slot in slots), sum(slot.wrong for slot in slots), sum(slot.missed for slot in slots)
        ).f1


def evaluate(heads: Heads, encoder: FrozenEncoder, examples: Examples) -> Evaluation:
    """The heads against these examples."""
    return _compare(examples.examples, _understand(heads, encoder, examples.examples))


def cross_validate(examples: Examples, encoder: FrozenEncoder, folds: int, seed: int) -> Evaluation:
    """Each example against heads that were trained without its fold; every fold has a share of each intent."""
    order = list(range(len(examples.examples)))
    Random(seed).shuffle(order)  # noqa: S311  # not for security: the same folds for the same seed
    order.sort(key=lambda index: examples.examples[index].intent)
    judged: list[tuple[Example, Understanding]] = []
    for fold in range(folds):
        held_out = set(order[fold::folds])
        kept = examples.only([index for index in range(len(order)) if index not in held_out])
        asked = [examples.examples[index] for index in sorted(held_out)]
        answers = _understand(train(kept, encoder, seed), encoder, asked)
        judged += zip(asked, answers, strict=True)
    return _compare([example for example, _ in judged], [answer for _, answer in judged])


def best_intent(understood: Understanding) -> str:
    return understood.intents[0].name if understood.in_scope else OUT_OF_SCOPE


def _understand(heads: Heads, encoder: FrozenEncoder, examples: Sequence[Example]) -> list[Understanding]:
    texts = [example.text for example in examples]
    return heads.understand(texts, encoder.read_all(texts))


def _compare(examples: Sequence[Example], answers: Sequence[Understanding]) -> Evaluation:
    intents = [(example.intent, best_intent(answer)) for example, answer in zip(examples, answers, strict=True)]
    names = sorted({name for pair in intents for name in pair})
    expected = {
        (index, slot.name, slot.start, slot.end) for index, example in enumerate(examples) for slot in example.slots
    }
    found = {(index, slot.name, slot.start, slot.end) for index, answer in enumerate(answers) for slot in answer.slots}
    slots = sorted({name for _, name, _, _ in expected | found})
    return Evaluation(
        examples=len(examples),
        accuracy=sum(wanted == got for wanted, got in intents) / max(1, len(intents)),
        intents={
            name: Counts(
                right=sum(wanted == got == name for wanted, got in intents),
                wrong=sum(wanted != got == name for wanted, got in intents),
                missed=sum(got != wanted == name for wanted, got in intents),
            )
            for name in names
        },
        slots={
            name: Counts(
                right=_count(expected & found, name),
                wrong=_count(found - expected, name),
                missed=_count(expected - found, name),
            )
            for name in slots
        },
    )


def _count(spans: set[tuple[int, str, int, int]], name: str) -> int:
    return sum(slot == name for _, slot, _, _ in spans)


def _share(right: int, others: int) -> float:
    return right / (right + others) if right + others else 1.0
