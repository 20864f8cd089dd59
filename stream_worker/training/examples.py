"""Training examples as values: texts with an intent and marked slots."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

OUT_OF_SCOPE = "out_of_scope"
"""Examples of this intent are what the bot is *not* for."""


@dataclass(frozen=True, slots=True)
class MarkedSlot:
    """A slot marked in an example's text, in code points."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Example:
    """`place` is file and line, for messages."""

    text: str
    intent: str
    slots: tuple[MarkedSlot, ...]
    place: str


@dataclass(frozen=True, slots=True)
class Examples:
    """`synonyms` by lower-case text; `lookups`: further values of a slot, by its name."""

    examples: tuple[Example, ...]
    synonyms: dict[str, str]
    lookups: dict[str, tuple[str, ...]]

    @property
    def slot_names(self) -> tuple[str, ...]:
        return tuple(sorted({slot.name for example in self.examples for slot in example.slots}))

    @property
    def hash(self) -> str:
        """Of all that training depends on; not of where it stands."""
        plain = [(example.text, example.intent, example.slots) for example in self.examples]
        content = repr((plain, sorted(self.synonyms.items()), sorted(self.lookups.items())))
        return blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    def only(self, indices: Sequence[int]) -> "Examples":
        """Some of the examples, for cross-validation; synonyms and lookups stay."""
        return Examples(tuple(self.examples[index] for index in indices), self.synonyms, self.lookups)


def merge(parts: Sequence[Examples]) -> Examples:
    """Several files as one; of a synonym that two of them give, the later one counts."""
    lookups: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for name, values in part.lookups.items():
            lookups[name] = (*lookups.get(name, ()), *values)
    return Examples(
        tuple(example for part in parts for example in part.examples),
        {text: value for part in parts for text, value in part.synonyms.items()},
        lookups,
    )
