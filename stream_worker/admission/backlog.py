"""How long a worker needs for the work that waits: what autoscaling looks at. Pure.

By Little's law `n` turns that run side by side and take `s` seconds each end
at a rate of `n/s`. An event costs the seconds of its turn; one that is settled
without a turn costs nothing; so

    seconds = unsettled × (seconds of turns ÷ events settled) ÷ turns side by side

The cost is a mean over what was settled lately, and stands while nothing is.
Below full load turns run faster than they would at it, so the estimate is low
there, where it does not matter; at full load it is exact.
"""

from dataclasses import dataclass

_FORGET_AFTER_EVENTS = 1_000
"""The mean is taken over about so many events."""


@dataclass(slots=True)
class Backlog:
    """`slots` is how many turns may run side by side."""

    slots: int
    _turn_seconds: float = 0.0
    _events: float = 0.0

    def settled(self, events: int) -> None:
        self._events += events
        if self._events > 2 * _FORGET_AFTER_EVENTS:
            kept = _FORGET_AFTER_EVENTS / self._events
            self._events *= kept
            self._turn_seconds *= kept

    def ran(self, seconds: float) -> None:
        """A turn took this long, from its start until it settled."""
        self._turn_seconds += seconds

    @property
    def seconds_per_event(self) -> float:
        """Seconds of a turn that one event costs; 0 before the first one was settled."""
        return self._turn_seconds / self._events if self._events else 0.0

    def seconds(self, unsettled: int) -> float:
        return unsettled * self.seconds_per_event / self.slots
