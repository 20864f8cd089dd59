"""Waiting for a condition with a deadline: what tests do instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_INTERVAL_S = 0.02


def eventually(condition: Callable[[], T], deadline_s: float = 20.0) -> T:
    """The condition's first true value; fails when there is none in time."""
    deadline = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {deadline_s} s: {condition}, last value {value!r}")
        time.sleep(_INTERVAL_S)
    return value
