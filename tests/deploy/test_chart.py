"""The chart: what it renders is valid, is what it was, and what cannot work does not render."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stream_worker.settings import Settings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "stream-worker"
GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(file.name.removesuffix("-values.yaml") for file in (CHART / "ci").glob("*-values.yaml"))
KUBERNETES = "1.34"
#: Set to write the golden renders anew; then read the difference.
UPDATE = "UPDATE_GOLDEN"


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("helm") or str(ROOT / ".cache" / "bin" / "helm")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def render(case: str, *more: str) -> subprocess.CompletedProcess[str]:
    values = str(CHART / "ci" / f"{case}-values.yaml")
    version = f"{KUBERNETES}.0"
    return helm("template", "bot", str(CHART), "-n", "chat", "--kube-version", version, "-f", values, *more)


def objects(text: str) -> list[dict[str, Any]]:
    return [each for each in YAML(typ="safe").load_all(text) if each]


def test_lint_finds_nothing() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("case", CASES)
def test_what_is_rendered_is_valid_for_kubernetes_and_the_worker(case: str, tmp_path: Path) -> None:
    done = render(case)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "rendered.yaml"
    file.write_text(done.stdout)
    program = Path(sys.executable).parent / "kubernetes-validate"
    checked = subprocess.run(
        [str(program), "-k", KUBERNETES, "--strict", str(file)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    for each in objects(done.stdout):
        _has_labels(each)
        if each["kind"] == "ConfigMap" and "stream-worker.yaml" in each["data"]:
            Settings.model_validate(
                YAML(typ="safe").load(each["data"]["stream-worker.yaml"].replace("${INSTANCE}", "bot-0"))
            )
        for pod in _pods(each):
            _is_restricted(pod)


def _has_labels(each: dict[str, Any]) -> None:
    if each["metadata"]["name"].endswith("-extra"):
        return
    labels = each["metadata"]["labels"]
    names = ("name", "instance", "version", "component", "part-of", "managed-by")
    assert {f"app.kubernetes.io/{name}" for name in names} | {"helm.sh/chart"} <= labels.keys()


def _pods(each: dict[str, Any]) -> list[dict[str, Any]]:
    if each["kind"] == "Pod":
        return [each["spec"]]
    template = each.get("spec", {}).get("template") if each["kind"] in ("StatefulSet", "Deployment", "Job") else None
    return [template["spec"]] if template else []


def _is_restricted(pod: dict[str, Any]) -> None:
    """Kubernetes' restricted pod security."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("case", ["gpu", "laptop", "locked-down"])
def test_a_render_is_what_it_was(case: str) -> None:
    rendered = render(case).stdout
    file = GOLDEN / f"{case}.yaml"
    if os.environ.get(UPDATE):
        file.write_text(rendered)
    assert rendered == file.read_text()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (["replicas=97"], "97 workers for 96 partitions"),
        (["autoscaling.enabled=true", "autoscaling.maxReplicas=97"], "97 workers for 96 partitions"),
        (["console.enabled=true"], "console.tokenSecret"),
        (["replica=3"], "replica"),
        (["gpu.count=-1"], "count"),
    ],
)
def test_what_cannot_work_does_not_render(values: list[str], sentence: str) -> None:
    done = render("default", *(part for value in values for part in ("--set", value)))
    assert done.returncode != 0
    assert sentence in done.stderr


def test_as_many_workers_as_partitions_render() -> None:
    assert render("default", "--set", "replicas=96").returncode == 0


def test_a_pod_may_drain_before_it_is_killed() -> None:
    (worker,) = [each for each in objects(render("gpu").stdout) if each["kind"] == "StatefulSet"]
    assert worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 60.5 + 15
    limits = worker["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
