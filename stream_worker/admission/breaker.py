"""The circuit breaker of an engine that is away: it holds turns, and nobody is to blame. Pure."""

from dataclasses import dataclass

_LONGEST_S = 30.0


@dataclass(slots=True)
class Breaker:
    """Open after an engine failure, for a time that doubles up to 30 s; a success closes it."""

    first_s: float
    _failures: int = 0
    _open_until: float = 0.0
    _successes: int = 0

    @property
    def successes(self) -> int:
        """Counts successes, so that a turn can tell whether others succeeded meanwhile."""
        return self._successes

    @property
    def is_open(self) -> bool:
        return self._failures > 0

    def held_until(self, now: float) -> float | None:
        """Until when nothing is tried; None when it may be tried now."""
        return self._open_until if now < self._open_until else None

    def fail(self, now: float) -> float:
        """Notes that the engine is away; returns when to try again."""
        if now >= self._open_until:
            self._failures += 1
            self._open_until = now + min(_LONGEST_S, self.first_s * 2 ** (self._failures - 1))
        return self._open_until

    def succeed(self) -> None:
        self._failures = 0
        self._open_until = 0.0
        self._successes += 1
