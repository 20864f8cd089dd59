"""More examples for the slots: the same sentences with other values, so that values never seen are found. Pure."""

from random import Random

from stream_worker.training.examples import OUT_OF_SCOPE, Example, Examples, MarkedSlot

COPIES = 4


def augmented(examples: Examples, random: Random) -> list[Example]:
    """All examples, and of each with slots some copies whose values are drawn from all that the slot may have."""
    values = _values(examples)
    result = [example for example in examples.examples if example.intent != OUT_OF_SCOPE or example.slots]
    for example in examples.examples:
        if example.slots:
            result += [_with_other_values(example, values, random) for _ in range(COPIES)]
    return result


def _values(examples: Examples) -> dict[str, list[str]]:
    values: dict[str, dict[str, None]] = {name: dict.fromkeys(texts) for name, texts in examples.lookups.items()}
    for example in examples.examples:
        for slot in example.slots:
            values.setdefault(slot.name, {})[example.text[slot.start : slot.end]] = None
    return {name: list(texts) for name, texts in values.items()}


def _with_other_values(example: Example, values: dict[str, list[str]], random: Random) -> Example:
    pieces: list[str] = []
    slots: list[MarkedSlot] = []
    length = last = 0
    for slot in example.slots:
        before = example.text[last : slot.start]
        value = random.choice(_of_like_script(example.text[slot.start : slot.end], values[slot.name]))
        start = length + len(before)
        length = start + len(value)
        slots.append(MarkedSlot(slot.name, start, length))
        pieces += [before, value]
        last = slot.end
    return Example("".join([*pieces, example.text[last:]]), example.intent, tuple(slots), example.place)


def _of_like_script(value: str, values: list[str]) -> list[str]:
    """A sentence keeps its script: 北京 is exchanged for 上海, not for Shanghai."""
    return [other for other in values if other.isascii() == value.isascii()]
