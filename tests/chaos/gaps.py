"""How long nothing of a partition settled although events waited in it, and which fault that followed. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.replay import Place

_WORTH_NOTING_MS = 500


class Gap(NamedTuple):
    """Begin and end are milliseconds since the epoch."""

    partition: int
    begin: int
    end: int

    @property
    def seconds(self) -> float:
        return (self.end - self.begin) / 1000


def gaps(arrived: Mapping[Place, int], settled: Mapping[Place, int]) -> list[Gap]:
    """Every gap that is worth noting. Times are milliseconds since the epoch, by the event's place."""
    by_partition: dict[int, list[tuple[int, int]]] = {}
    for place, at in settled.items():
        by_partition.setdefault(place[0], []).append((at, arrived[place]))
    return [gap for partition, found in by_partition.items() for gap in _of_partition(partition, sorted(found))]


def _of_partition(partition: int, settled: Sequence[tuple[int, int]]) -> Iterable[Gap]:
    """`settled` are the times of settling and arrival, in order."""
    oldest_waiting = [0] * len(settled)
    oldest = settled[-1][1]
    for number in range(len(settled) - 1, -1, -1):
        oldest = oldest_waiting[number] = min(oldest, settled[number][1])
    before = 0
    for (at, _), oldest in zip(settled, oldest_waiting, strict=True):
        begin = max(before, oldest)
        if at - begin >= _WORTH_NOTING_MS:
            yield Gap(partition, begin, at)
        before = at


def fault_before(gap: Gap, faults: Sequence[tuple[int, str]]) -> str | None:
    """The last fault before a gap; `faults` are times and kinds, in order."""
    # A turn that was running when the fault came began its wait before it.
    return next((name for at, name in reversed(faults) if at <= gap.begin + _WORTH_NOTING_MS), None)


def longest_by_fault(found: Iterable[Gap], faults: Sequence[tuple[int, str]]) -> dict[str, float]:
    """Seconds of the longest gap that each kind of fault was the last one before."""
    longest: dict[str, float] = {}
    for gap in found:
        if (kind := fault_before(gap, faults)) is not None:
            longest[kind] = max(longest.get(kind, 0.0), gap.seconds)
    return dict(sorted(longest.items(), key=lambda each: -each[1]))


def worst(
    found: Iterable[Gap], faults: Sequence[tuple[int, str]], started: int, most: int = 10
) -> list[dict[str, Any]]:
    """The longest of all, to be looked up in the logs; `started` is when the run began."""
    return [
        {
            "partition": gap.partition,
            "from_s": (gap.begin - started) / 1000,
            "seconds": gap.seconds,
            "after": fault_before(gap, faults),
        }
        for gap in sorted(found, key=lambda gap: -gap.seconds)[:most]
    ]
