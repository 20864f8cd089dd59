"""Back-pressure: how many records may be taken now. Pure; time comes in as an argument.

The client hands out one partition's records after the other's, as they were
fetched: with a backlog in each, all that is in hand would be of one of them, and
the others would wait for its end. So from half the lower mark on one that has
its share in hand is paused, alone.

Short back-pressure of the whole is taking slowly, one record a tick, because a
pause throws away what was prefetched and resuming costs the better part of a
second. Only where it lasts are all partitions paused. What settles without
the device is not in hand, so a backlog of expired events passes at full speed.
"""

from collections.abc import Mapping
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

    def limit(self, events: int, partitions: int) -> int:
        """Records that may be taken in this tick, with so many events in hand of so many partitions."""
        match self._pace:
            case Pace.FULL:
                # They may all be of one partition, so it is a part of one's share where that counts.
                room = self._settings.lower_mark_events // 2 - events
                return max(min(FULL_SPEED, room), _share(self._settings, partitions) // 4, 1)
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


def _share(settings: AdmissionSettings, partitions: int) -> int:
    """Three quarters of the upper mark: the rest is for what a tick brings too much."""
    return max(1, settings.upper_mark_events * 3 // (4 * max(1, partitions)))


class Shares:
    """Of what may be in hand, each partition's equal part."""

    def __init__(self, settings: AdmissionSettings) -> None:
        self._settings = settings
        self._full: frozenset[int] = frozenset()

    def full(self, in_hand: Mapping[int, int]) -> frozenset[int]:
        """The partitions of which no more is to be taken, where so many events of each are in hand.

        Full with its share, while all together are at half of the lower mark; until half of either.
        """
        total, enough = sum(in_hand.values()), max(1, self._settings.lower_mark_events // 2)
        share = _share(self._settings, len(in_hand))
        self._full = frozenset(
            partition
            for partition, events in in_hand.items()
            if (events >= share and total >= enough)
            or (partition in self._full and events > share // 2 and total > enough // 2)
        )
        return self._full


_MAX_UNCOMMITTED = 50_000
"""Settlements that may wait for a commit while the broker is away."""
