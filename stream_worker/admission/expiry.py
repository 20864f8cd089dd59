"""Whether an event is too old to be answered, or would be by the time it is. Pure.

Starts go by age, so under more load than a worker can bear every turn starts with hardly any time left: without a look
ahead all of them would be cancelled in the middle, and nobody answered.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stream_worker.contracts.decode import Arrival


def expires_ms(arrival: Arrival, max_age_ms: int) -> float:
    """The first millisecond at which it is too late, by the sender's `expires_at` or by its age; infinite for never."""
    by_age = arrival.record.timestamp_ms + max_age_ms + 1 if max_age_ms > 0 else math.inf
    expires_at = arrival.event.expires_at
    return by_age if expires_at is None else min(by_age, expires_at)


def has_expired(arrival: Arrival, now_ms: int, max_age_ms: int) -> bool:
    """By the sender's `expires_at`, or by the record's age where a limit is set (0 is none)."""
    return now_ms >= expires_ms(arrival, max_age_ms)


def ends_too_late(arrivals: Sequence[Arrival], now_ms: int, max_age_ms: int, turn_seconds: float) -> bool:
    """Whether a turn of these messages, started now, would end when all of them are too old.

    Half of its life an event may wait whatever turns take: an estimate alone keeps nobody from being answered.
    """
    latest = max(arrivals, key=lambda arrival: expires_ms(arrival, max_age_ms))
    until = expires_ms(latest, max_age_ms)
    life = until - latest.record.timestamp_ms
    return now_ms >= until or now_ms + min(1000 * turn_seconds, life / 2) > until


@dataclass(slots=True)
class TurnSeconds:
    """What a turn may be expected to take: mean and four mean deviations, as TCP waits for an answer (RFC 6298)."""

    _mean: float | None = None
    _deviation: float = 0.0

    def took(self, seconds: float) -> None:
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
        else:
            self._deviation += (abs(self._mean - seconds) - self._deviation) / 4
            self._mean += (seconds - self._mean) / 8

    @property
    def expected(self) -> float:
        return 0.0 if self._mean is None else self._mean + 4 * self._deviation
