"""Back-pressure: how many records may be taken now. Pure; time comes in as an argument.

Short back-pressure is taking slowly, one record a tick, because a pause
throws away what was prefetched and resuming costs the better part of a
second. Only where it lasts are the partitions paused. What settles without
the device is not in hand, so a backlog of expired events passes at full speed.
"""

from dataclasses import dataclass
from enum import StrEnum

from stream_worker.settings.admission import AdmissionSettings

FULL_SPEED = 2_000
"""Records taken in one tick at full speed."""


class Pace(StrEnum):
    FULL = "full"
    SLOW = "slow"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Load:
    """What is in hand: events that wait or run, their bytes, and settlements that wait for a commit."""

    events: int
    bytes: int
    uncommitted: int


class Pressure:
    def __init__(self, settings: AdmissionSettings) -> None:
        self._settings = settings
        self._pace = Pace.FULL
        self._slow_since = 0.0

    @property
    def pace(self) -> Pace:
        return self._pace

    @property
    def limit(self) -> int:
        """Records that may be taken in this tick."""
        match self._pace:
            case Pace.FULL:
                return FULL_SPEED
            case Pace.SLOW:
                return 1
            case Pace.PAUSED:
                return 0

    def may_take_settled(self, load: Load) -> bool:
        """Whether events that settle without a turn may be taken on, above the upper mark of events, too."""
        return load.bytes < self._settings.upper_mark_bytes and load.uncommitted < _MAX_UNCOMMITTED

    def update(self, load: Load, now: float, *, engine_away: bool) -> Pace:
        """The pace under this load: slow above the upper mark, paused where that lasts, full at the lower mark."""
        settings = self._settings
        above = (
            load.events >= settings.upper_mark_events
            or load.bytes >= settings.upper_mark_bytes
            or load.uncommitted >= _MAX_UNCOMMITTED
        )
        below = (
            load.events <= settings.lower_mark_events
            and load.bytes <= settings.upper_mark_bytes // 2
            and load.uncommitted <= _MAX_UNCOMMITTED // 2
        )
        if self._pace is Pace.FULL:
            if above:
                self._pace, self._slow_since = Pace.SLOW, now
        elif below:
            self._pace = Pace.FULL
        elif self._pace is Pace.SLOW and (engine_away or now - self._slow_since >= settings.pause_after_ms / 1000):
            self._pace = Pace.PAUSED
        return self._pace


_MAX_UNCOMMITTED = 50_000
"""Settlements that may wait for a commit while the broker is away."""
