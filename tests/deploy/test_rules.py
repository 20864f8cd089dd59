"""Each alert fires where it should and is silent where it should not, by promtool."""

import subprocess
from pathlib import Path

import orjson
import pytest

from stream_worker.observability.metric_table import PREFIX
from tests.deploy.cases import CASES, WHERE, Case
from tools.watching.rules import ALERTS

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules.yaml"


def _series(samples: dict[str, str]) -> list[dict[str, str]]:
    found = []
    for series, values in samples.items():
        name, _, labels = series.rstrip("}").partition("{")
        full = name if name == "up" else f"{PREFIX}_{name}"
        found.append({"series": f"{full}{{{','.join(filter(None, (WHERE, labels)))}}}", "values": values})
    return found


def _firing(case: Case, samples: dict[str, str], folder: Path) -> int:
    """How many alerts of the case's name and severity promtool sees: it tells by refusing to expect none."""
    alerts = f'ALERTS{{alertname="{case.alert}",severity="{case.severity}",alertstate="firing"}}'
    query = {
        "expr": f"count({alerts}) or vector(0)",
        "eval_time": case.at,
        "exp_samples": [],
    }
    counts = []
    for expected in (0, 1):
        group = {
            "interval": "1m",
            "input_series": _series(samples),
            "promql_expr_test": [query | {"exp_samples": [{"labels": "{}", "value": expected}]}],
        }
        file = folder / "rules.test.json"
        file.write_bytes(orjson.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [group]}))
        done = subprocess.run(
            ["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode in (0, 1), done.stderr
        if done.returncode == 0:
            counts.append(expected)
    assert len(counts) == 1, done.stdout + done.stderr
    return counts[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}-{case.severity}-{case.at}")
def test_the_alert_fires(case: Case, tmp_path: Path) -> None:
    assert _firing(case, case.fires, tmp_path) == 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}-{case.severity}-{case.at}")
def test_the_alert_stays_silent(case: Case, tmp_path: Path) -> None:
    assert _firing(case, case.silent, tmp_path) == 0


def test_every_alert_has_a_case() -> None:
    assert {(case.alert, case.severity) for case in CASES} == {(alert.name, alert.severity) for alert in ALERTS}


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
