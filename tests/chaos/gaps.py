"""How long nothing of a partition settled although events waited in it, and which fault that followed. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from tests.replay import Place

#: Begin and end, in milliseconds since the epoch.
Gap = tuple[int, int]
_WORTH_NOTING_MS = 500


def gaps(arrived: Mapping[Place, int], settled: Mapping[Place, int]) -> list[Gap]:
    """Every gap that is worth noting. Times are milliseconds since the epoch, by the event's place."""
    by_partition: dict[int, list[tuple[int, int]]] = {}
    for place, at in settled.items():
        by_partition.setdefault(place[0], []).append((at, arrived[place]))
    return [gap for found in by_partition.values() for gap in _of_partition(sorted(found))]


def _of_partition(settled: Sequence[tuple[int, int]]) -> Iterable[Gap]:
    """`settled` are the times of settling and arrival, in order."""
    oldest_waiting = [0] * len(settled)
    oldest = settled[-1][1]
    for number in range(len(settled) - 1, -1, -1):
        oldest = oldest_waiting[number] = min(oldest, settled[number][1])
    before = 0
    for (at, _), oldest in zip(settled, oldest_waiting, strict=True):
        begin = max(before, oldest)
        if at - begin >= _WORTH_NOTING_MS:
            yield begin, at
        before = at


def longest_by_fault(found: Iterable[Gap], faults: Sequence[tuple[int, str]]) -> dict[str, float]:
    """Seconds of the longest gap that each kind of fault was the last one before; `faults` are times and kinds."""
    longest: dict[str, float] = {}
    ordered = sorted(faults)
    for begin, end in found:
        # A turn that was running when the fault came began its wait before it.
        kind = next((name for at, name in reversed(ordered) if at <= begin + _WORTH_NOTING_MS), None)
        if kind is not None:
            longest[kind] = max(longest.get(kind, 0.0), (end - begin) / 1000)
    return dict(sorted(longest.items(), key=lambda each: -each[1]))
