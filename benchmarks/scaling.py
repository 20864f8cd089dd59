"""Does the chart's scaling rule settle, and what does it save against scaling on lag alone?

A discrete-event model of a group (`cluster_model.py`) under the rule as the chart renders it: a day of the Gitter chat
rooms' rates, scaled up; a day on which one partition gets as much as one worker can do; a burst of ten times the rate
for five minutes; and a rate that does not change. Against KEDA's usual rule, lag over a threshold, and against as many
workers as the peak needs. `--plot FILE` draws the day.
"""

import lzma
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from cluster_model import Costs, Group, Run, Scaler, Trigger
from harness import parser, report
from ruamel.yaml import YAML

#: Measured on 2 cores with AMX, SmolLM2-135M-Instruct in bf16, replies of 68 tokens: benchmarks/engine.py (432 tokens/s
#: over 8 turns), multiturn.py (the first token of turn 8 computed anew less kept), and how long a group that a member
#: left or joined needs to go on. How long a pod needs is an assumption.
COSTS = Costs(slots=8, turn_s=1.26, alone=0.5, cold_s=0.27, rebalance_s=0.6, restore_s=0.5, pod_start_s=45.0)

_RENDERED = Path(__file__).parent.parent / "tests" / "deploy" / "golden" / "gpu.yaml"
_DAY_S = 86_400
_PARTITIONS = 96
_SLO_S = 10.0
_MEAN_RATE = 10.0
"""Messages a second over the day; a worker can do about six."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What the chart's ScaledObject says."""

    least: int
    most: int
    settle_s: float
    thresholds: Mapping[str, float]

    def scaler(self, *names: str) -> Scaler:
        return Scaler([self._trigger(name) for name in names], self.least, self.most, self.settle_s)

    def _trigger(self, name: str) -> Trigger:
        threshold = self.thresholds[name]
        field = {"backlog": "backlog_s", "busy": "busy", "lag": "lag"}[name]
        return lambda seen: float(getattr(seen, field)) / threshold


def chart_rule() -> Rule:
    """As it is rendered for a GPU cluster. Raises LookupError where the chart has another form."""
    documents = YAML(typ="safe").load_all(_RENDERED.read_text())
    spec = next(each["spec"] for each in documents if each and each["kind"] == "ScaledObject")
    thresholds: dict[str, float] = {}
    for trigger in spec["triggers"]:
        metadata: dict[str, Any] = trigger["metadata"]
        if trigger["type"] == "kafka":
            thresholds["lag"] = float(metadata["lagThreshold"])
        elif "backlog_work_seconds" in metadata["query"]:
            thresholds["backlog"] = float(metadata["threshold"])
        elif "inflight_turns" in metadata["query"]:
            thresholds["busy"] = float(metadata["threshold"])
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    return Rule(
        least=spec["minReplicaCount"],
        most=spec["maxReplicaCount"],
        settle_s=behavior["scaleDown"]["stabilizationWindowSeconds"],
        thresholds=thresholds,
    )


def day(data: Path, rate: float, seed: int = 1) -> list[tuple[float, int]]:
    """One day's messages: those of all days of the rooms, many times over, each copy some minutes off and of others."""
    draw = random.Random(seed)
    said: list[tuple[float, str]] = []
    for file in sorted(data.glob("chatlogs/gitter_*.jsonl.xz")):
        with lzma.open(file) as lines:
            for line in lines:
                message = orjson.loads(line)
                said.append((message["ts_ms"] / 1000 % _DAY_S, f"{message['room']}/{message['user']}"))
    if not said:
        raise SystemExit(f"no chat logs in {data}: name the folder by --data")
    copies = max(1, round(rate * _DAY_S / len(said)))
    names: dict[tuple[int, str], int] = {}
    arrivals = []
    for copy in range(copies):
        offset = draw.uniform(-900, 900)
        for second, who in said:
            conversation = names.setdefault((copy, who), len(names))
            arrivals.append(((second + offset) % _DAY_S, conversation))
    arrivals.sort()
    return arrivals


def steady(rate: float, seconds: float, conversations: int = 4_000, seed: int = 1) -> Iterator[tuple[float, int]]:
    draw, now = random.Random(seed), 0.0
    while (now := now + draw.expovariate(rate)) < seconds:
        yield now, draw.randrange(conversations)


def burst(seconds: float) -> Iterator[tuple[float, int]]:
    """Ten times the rate from the first hour on, for five minutes."""
    usual = steady(4.0, seconds)
    more = ((3_600 + at, conversation) for at, conversation in steady(36.0, 300, seed=2))
    yield from sorted([*usual, *more])


def hot(seconds: float) -> Iterator[tuple[float, int]]:
    """One partition gets what one worker can do, the others what they usually get."""
    usual = steady(8.0, seconds)
    one = ((at, conversation * _PARTITIONS) for at, conversation in steady(5.5, seconds, 400, seed=2))
    yield from sorted([*usual, *one])


def play(arrivals: Sequence[tuple[float, int]], scaler: Scaler, pods: int) -> Run:
    return Group(COSTS, scaler, _PARTITIONS, pods).play(arrivals, arrivals[-1][0] + 60)


def summary(run: Run) -> dict[str, float]:
    return {
        "replies": len(run.answered),
        "within_10_s": round(run.within(_SLO_S), 4),
        "p50_s": round(run.percentile(0.5), 2),
        "p99_s": round(run.percentile(0.99), 2),
        "pod_hours": round(run.pod_hours, 1),
        "pods_most": max(run.pods),
        "changes_of_direction": run.turns_back,
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with chatlogs/")
    options.add_argument("--plot", type=Path, help="an SVG of the day")
    given = options.parse_args()
    rule = chart_rule()
    scenarios = {
        "day": day(given.data, _MEAN_RATE),
        "steady": list(steady(20.0, 3 * 3_600)),
        "burst": list(burst(3 * 3_600)),
        "hot_partition": list(hot(3 * 3_600)),
    }
    results: dict[str, Any] = {}
    ratios: dict[str, dict[str, float]] = {"lag_alone": {}, "peak_always": {}}
    for name, arrivals in scenarios.items():
        start = max(rule.least, 2)
        ours = play(arrivals, rule.scaler(*rule.thresholds), start)
        lag = play(arrivals, rule.scaler("lag"), start)
        most = max(ours.pods)
        fixed = play(arrivals, Scaler([lambda _: most], most, most, 0), most)  # noqa: B023  # called within the loop
        results[name] = {"ours": summary(ours), "lag_alone": summary(lag), "peak_always": summary(fixed)}
        print(name, results[name], file=sys.stderr)
        late, lates = 1 - ours.within(_SLO_S), 1 - lag.within(_SLO_S)
        ratios["lag_alone"][name] = round((lates + 1e-4) / (late + 1e-4), 2)
        ratios["peak_always"][name] = round(fixed.pod_hours / ours.pod_hours, 2)
        if name == "day" and given.plot:
            draw(ours, lag, given.plot)
    report("scaling", results, ratios)


def draw(ours: Run, lag: Run, file: Path) -> None:
    """Messages a second, workers, and the slowest reply in a hundred, over the day."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "scaling"
    from matplotlib import pyplot

    figure, (rate, pods, waits) = pyplot.subplots(3, 1, sharex=True, figsize=(9, 6.5), layout="constrained")
    rate.plot(*_per_minute(ours, lambda taken: len(taken) / 60), color="#555", linewidth=0.8)
    rate.set_ylabel("replies a second")
    for run, name, colour in ((lag, "lag alone", "#c2410c"), (ours, "the chart's rule", "#1d4ed8")):
        pods.plot([seen.at / 3600 for seen in run.samples], run.pods, color=colour, label=name, linewidth=0.9)
        waits.plot(*_per_minute(run, lambda taken: sorted(taken)[int(0.99 * len(taken))]), color=colour, linewidth=0.7)
    pods.set_ylabel("workers")
    pods.legend(loc="upper left", frameon=False)
    waits.set_ylabel("seconds to a reply, p99")
    waits.set_yscale("log")
    waits.axhline(_SLO_S, color="#555", linewidth=0.6, linestyle=":")
    waits.set_xlabel("hour of the day")
    waits.set_xlim(0, 24)
    figure.savefig(file, metadata={"Date": None})


def _per_minute(run: Run, value: Any) -> tuple[list[float], list[float]]:
    minutes: dict[int, list[float]] = {}
    for arrival, took in run.answered:
        minutes.setdefault(int(arrival // 60), []).append(took)
    hours = sorted(minutes)
    return [minute / 60 for minute in hours], [value(minutes[minute]) for minute in hours]


if __name__ == "__main__":
    main()
