"""Measures of an understanding: counts, calibration, out of scope, and whether two runs differ. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

BINS = 10


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one intent, or of one slot: right, found though it was not there, and missed."""

    right: int
    wrong: int
    missed: int

    # Each is 1 where there was nothing to find and nothing was found.

    @property
    def precision(self) -> float:
        return _share(self.right, self.wrong)

    @property
    def recall(self) -> float:
        return _share(self.right, self.missed)

    @property
    def f1(self) -> float:
        return _share(2 * self.right, self.wrong + self.missed)


def together(counts: Sequence[Counts]) -> Counts:
    """Of all as if they were one (micro average)."""
    return Counts(sum(one.right for one in counts), sum(one.wrong for one in counts), sum(one.missed for one in counts))


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers with scores from `low` up to `high`: how many, their mean score, and how many of them were right."""

    low: float
    high: float
    count: int
    score: float
    right: float


def reliability(scores: Sequence[float], right: Sequence[bool]) -> list[Bin]:
    """Ten equal bins of the scores; those without answers are left out."""
    bins: list[Bin] = []
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS
        own = [
            (score, hit)
            for score, hit in zip(scores, right, strict=True)
            if (low <= score < high) or (score >= high == 1.0)
        ]
        if own:
            mean, hits = sum(score for score, _ in own) / len(own), sum(hit for _, hit in own) / len(own)
            bins.append(Bin(low, high, len(own), mean, hits))
    return bins


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error (Naeini et al., 2015): how far scores are from how often they are right."""
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.score - one.right) for one in bins) / total if total else 0.0


def area_under_roc(inside: Sequence[float], outside: Sequence[float]) -> float:
    """How often something inside scores higher than something outside; equal counts half."""
    ranked = sorted([(score, True) for score in inside] + [(score, False) for score in outside])
    below = wins = 0.0
    at = 0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        own_outside = sum(not is_inside for _, is_inside in ranked[at:end])
        wins += (end - at - own_outside) * (below + own_outside / 2)
        below += own_outside
        at = end
    return wins / (len(inside) * len(outside))


@dataclass(frozen=True, slots=True)
class Point:
    """With this part of messages in scope rejected, this part of those out of scope is found."""

    rejected: float
    found: float


def scope_curve(inside: Sequence[float], outside: Sequence[float]) -> list[Point]:
    """For thresholds that reject 0 to 100 % of messages in scope."""
    ordered = sorted(inside)
    points: list[Point] = []
    for percent in range(101):
        at = percent * len(ordered) // 100
        threshold = ordered[at] if at < len(ordered) else float("inf")
        points.append(Point(at / len(ordered), sum(score < threshold for score in outside) / len(outside)))
    return points


@dataclass(frozen=True, slots=True)
class Change:
    """Against another run: examples that both were asked, those right only now or only before, and the chance that
    two equally good ones differ as much."""

    examples: int
    gained: int
    lost: int
    p: float


def change(before: Sequence[bool], now: Sequence[bool]) -> Change:
    """McNemar's exact test, of the same examples in the same order."""
    gained = sum(new and not old for old, new in zip(before, now, strict=True))
    lost = sum(old and not new for old, new in zip(before, now, strict=True))
    differing = gained + lost
    tail = sum(comb(differing, k) for k in range(min(gained, lost) + 1)) / 2**differing
    return Change(len(now), gained, lost, min(1.0, 2 * tail))


def _share(right: int, others: int) -> float:
    return right / (right + others) if right + others else 1.0
