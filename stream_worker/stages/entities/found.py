"""What a recogniser finds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """Code points `start` to `end` of the text, and what they mean, in the kind's normal form."""

    start: int
    end: int
    value: str


def apart(found: list[Found]) -> list[Found]:
    """In order of the text, those that do not overlap; of two that do, the longer one, else the first."""
    kept: list[Found] = []
    for one in sorted(found, key=lambda each: (each.start - each.end, each.start)):
        if all(one.end <= other.start or one.start >= other.end for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda each: each.start)
