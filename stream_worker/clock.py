"""The two clocks of a worker, injected so that a test can own time.

`now_ms` is wall time and is compared only with record timestamps; every
duration and deadline uses `monotonic`, which never jumps.
"""

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Wall time, milliseconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...


@dataclass(frozen=True, slots=True)
class Moment:
    """Both clocks, read once a tick and passed down, so that one tick has one time."""

    wall_ms: int
    monotonic: float

    @classmethod
    def of(cls, clock: Clock) -> "Moment":
        return cls(clock.now_ms(), clock.monotonic())


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._start_ms = now_ms
        self._elapsed = 0.0

    def now_ms(self) -> int:
        return self._start_ms + int(self._elapsed * 1000)

    def monotonic(self) -> float:
        return self._elapsed

    def set_back(self, seconds: float) -> None:
        """As when somebody sets the machine's clock: wall time alone."""
        self._start_ms -= int(seconds * 1000)

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"time does not run backwards: {seconds}")
        self._elapsed += seconds
