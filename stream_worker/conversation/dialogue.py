"""Where a dialogue stands with one sender: what it is about, what is known, what was asked. Pure.

A frozen value; the stages return a new one, and it replaces the old one when
their turn settles. Bounded: what is beyond a bound is forgotten, oldest first.
"""

from enum import StrEnum

from msgspec import Struct, field

MAX_FRAMES = 4
MAX_RECENT = 12


class Frame(Struct, frozen=True):
    """An intent that was spoken of, with its slots. It can be taken up again until it is forgotten."""

    intent: str
    slots: dict[str, str] = field(default_factory=dict)


class QuestionKind(StrEnum):
    SLOT = "slot"
    """For the value of a slot that a form needs."""
    INTENT = "intent"
    """Which of two intents was meant."""


class Question(Struct, frozen=True, kw_only=True):
    """What the bot has asked and is waiting for. `options` are what an answer may be, in the order they were named."""

    kind: QuestionKind
    intent: str
    slot: str = ""
    tries: int = 1
    options: tuple[str, ...] = ()


class Dialogue(Struct, frozen=True, kw_only=True):
    """`frames` has the active one last; `recent` are the last values of slots, newest first, as (slot, value)."""

    frames: tuple[Frame, ...] = ()
    question: Question | None = None
    recent: tuple[tuple[str, str], ...] = ()
    offers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The values that were last offered, by slot: "the second one" is one of them."""
    proposed: bool = False
    """Whether they were offered in the last reply: then "that sounds good" accepts the only one of a slot."""
    fallbacks: int = 0
    """Messages in a row that were not understood."""
    complaints: int = 0
    """Messages in a row in a bad mood."""
    language: str = ""
    """What the sender last wrote in, for messages without a word ("B7781")."""
    at: int = 0
    """When it was last spoken of, wall time in milliseconds."""

    @property
    def active(self) -> Frame | None:
        return self.frames[-1] if self.frames else None

    def frame(self, intent: str) -> Frame | None:
        return next((frame for frame in reversed(self.frames) if frame.intent == intent), None)


NEW = Dialogue()
