"""The chart's scaling rule, as it is rendered, in the model of a group: it settles, also with a hot partition."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

_HOUR_S = 3_600.0
_SLO_S = 10.0


@pytest.fixture(scope="module")
def scaling() -> Iterator[ModuleType]:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    yield import_module("scaling")
    sys.path.remove(folder)


def settles(scaling: ModuleType, rate: float, without: Callable[[str], bool] = lambda _: False) -> None:
    rule = scaling.chart_rule()
    triggers = [name for name in rule.thresholds if not without(name)]
    run = scaling.play(list(scaling.steady(rate, 2 * _HOUR_S)), rule.scaler(*triggers), rule.least)
    pods = [pods for seen, pods in zip(run.samples, run.pods, strict=True) if seen.at >= _HOUR_S]
    changes = sum(before != after for before, after in pairwise(pods))
    assert max(pods) - min(pods) <= 1, "the number of workers swings under a load that does not change"
    assert changes <= 4, "the number of workers swings under a load that does not change"
    took = [took for at, took in run.answered if at > _HOUR_S]
    assert sum(each <= _SLO_S for each in took) > 0.99 * len(took)


@pytest.mark.parametrize("rate", [7.0, 15.0])
def test_the_rule_settles(scaling: ModuleType, rate: float) -> None:
    settles(scaling, rate)


def test_scaled_on_waiting_work_alone_it_swings(scaling: ModuleType) -> None:
    with pytest.raises(AssertionError, match="swings"):
        settles(scaling, 15.0, without=lambda name: name == "busy")


def test_a_hot_partition_does_not_take_all_workers(scaling: ModuleType) -> None:
    rule = scaling.chart_rule()
    run = scaling.play(list(scaling.hot(_HOUR_S)), rule.scaler(*rule.thresholds), rule.least)
    assert max(run.pods) < rule.most / 2


def test_every_message_is_answered_once_whatever_moves(scaling: ModuleType) -> None:
    rule = scaling.chart_rule()
    arrivals = list(scaling.steady(30.0, 600))
    run = scaling.play([*arrivals, (1_500.0, 0)], rule.scaler(*rule.thresholds), 1)
    assert sorted(at for at, _ in run.answered) == [at for at, _ in [*arrivals, (1_500.0, 0)]]
