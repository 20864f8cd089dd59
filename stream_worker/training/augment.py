"""More examples for the slots: the same sentences with other values, so that values never seen are found. Pure.

The values of a slot are all that are marked anywhere, and those of the lookup list with its name.
"""

from random import Random

from stream_worker.training.examples import Example, Examples, MarkedSlot

_MANY = 8_000
"""About so many copies are made of all examples together: of few examples several each, of many none."""

_MOST = 4


def copies(examples: Examples, random: Random) -> list[Example]:
    """Of each example with slots some copies, whose values are drawn from all that the slot may have.

    The place of a copy is the number of its example. Every other copy is in lower case, as people type.
    """
    values = _values(examples)
    marked = [(number, example) for number, example in enumerate(examples.examples) if example.slots]
    each = min(_MOST, _MANY // max(1, len(marked)))
    return [
        _with_other_values(number, example, values, random, lower=bool(copy % 2))
        for number, example in marked
        for copy in range(each)
    ]


def _values(examples: Examples) -> dict[str, list[str]]:
    values: dict[str, dict[str, None]] = {name: dict.fromkeys(texts) for name, texts in examples.lookups.items()}
    for example in examples.examples:
        for slot in example.slots:
            values.setdefault(slot.name, {})[example.text[slot.start : slot.end]] = None
    return {name: list(texts) for name, texts in values.items()}


def _with_other_values(
    number: int, example: Example, values: dict[str, list[str]], random: Random, *, lower: bool
) -> Example:
    pieces: list[str] = []
    slots: list[MarkedSlot] = []
    length = last = 0
    for slot in example.slots:
        before = example.text[last : slot.start]
        value = random.choice(_of_like_script(example.text[slot.start : slot.end], values[slot.name]))
        start = length + len(before)
        length = start + len(value)
        slots.append(MarkedSlot(slot.name, start, length, slot.role, slot.group))
        pieces += [before, value]
        last = slot.end
    text = "".join([*pieces, example.text[last:]])
    lowered = text.lower()
    # A few letters have no lower case of the same length.
    same = lowered if lower and len(lowered) == len(text) else text
    return Example(same, example.intents, tuple(slots), str(number))


def _of_like_script(value: str, values: list[str]) -> list[str]:
    """A sentence keeps its script: 北京 is exchanged for 上海, not for Shanghai."""
    return [other for other in values if other.isascii() == value.isascii()]
