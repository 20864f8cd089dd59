"""More examples for the slots: the same sentences with other values, so that values never seen are found. Pure.

The values of a slot are all that are marked anywhere, and those of the lookup list with its name.
"""

from random import Random

from stream_worker.training.examples import Example, Examples, MarkedSlot

COPIES = 4


def copies(examples: Examples, random: Random) -> list[Example]:
    """Of each example with slots some copies, whose values are drawn from all that the slot may have."""
    values = _values(examples)
    return [
        _with_other_values(example, values, random)
        for example in examples.examples
        if example.slots
        for _ in range(COPIES)
    ]


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
