"""Training examples as values: texts with their intents and marked slots."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

OUT_OF_SCOPE = "out_of_scope"
"""Examples of this intent are what the bot is *not* for."""

SENTIMENTS = ("negative", "neutral", "positive")


@dataclass(frozen=True, slots=True)
class MarkedSlot:
    """A slot marked in an example's text, in code points. `role` and `group` as in Rasa; None without."""

    name: str
    start: int
    end: int
    role: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """`intents` are several where a message asks for several things at once; `place` is file and line, for messages."""

    text: str
    intents: tuple[str, ...]
    slots: tuple[MarkedSlot, ...] = ()
    place: str = ""
    sentiment: str | None = None

    @property
    def intent(self) -> str:
        """As it is written in the examples: `greet`, or `greet+weather`."""
        return "+".join(self.intents)

    @property
    def in_scope(self) -> bool:
        return self.intents != (OUT_OF_SCOPE,)


@dataclass(frozen=True, slots=True)
class Examples:
    """`synonyms` by lower-case text; `lookups`, further values of a slot, and `regexes`, by name."""

    examples: tuple[Example, ...]
    synonyms: dict[str, str] = field(default_factory=dict)
    lookups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    regexes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def intents(self) -> tuple[str, ...]:
        """Each single intent in scope."""
        return tuple(sorted({name for example in self.examples if example.in_scope for name in example.intents}))

    @property
    def slot_names(self) -> tuple[str, ...]:
        """The slots that are marked in some example."""
        return tuple(sorted({slot.name for example in self.examples for slot in example.slots}))

    @property
    def hash(self) -> str:
        """Of all that training depends on; not of where it stands."""
        plain = [(example.text, example.intents, example.slots, example.sentiment) for example in self.examples]
        tables = [sorted(table.items()) for table in (self.synonyms, self.lookups, self.regexes)]
        return blake2b(repr((plain, tables)).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    def only(self, indices: Sequence[int]) -> "Examples":
        """Some of the examples, for cross-validation; synonyms and lists stay."""
        return Examples(tuple(self.examples[index] for index in indices), self.synonyms, self.lookups, self.regexes)


def merge(parts: Sequence[Examples]) -> Examples:
    """Several files as one; of a synonym that two of them give, the later one counts."""
    return Examples(
        tuple(example for part in parts for example in part.examples),
        {text: value for part in parts for text, value in part.synonyms.items()},
        _joined(part.lookups for part in parts),
        _joined(part.regexes for part in parts),
    )


def _joined(tables: Iterable[dict[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    joined: dict[str, tuple[str, ...]] = {}
    for table in tables:
        for name, values in table.items():
            joined[name] = (*joined.get(name, ()), *values)
    return joined
