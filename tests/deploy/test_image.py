"""The image and the composition. No engine builds them here: the steps are run, the files are checked."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.unit.docs.test_blocks import parse

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
BIN = Path(sys.executable).parent


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [str(BIN / "hadolint"), str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_composition_is_valid() -> None:
    file = ROOT / "deploy" / "compose" / "compose.yaml"
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_compositions_tracing_is_a_profile_that_receives_what_workers_send() -> None:
    composition = YAML(typ="safe").load((ROOT / "deploy" / "compose" / "compose.yaml").read_text(encoding="utf-8"))
    services = composition["services"]
    assert {name for name, service in services.items() if service.get("profiles") == ["tracing"]} == {
        "collector",
        "jaeger",
    }
    config = YAML(typ="safe").load(composition["configs"]["collector"]["content"])
    port = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    for name in ("worker-0", "worker-1"):
        assert services[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://collector:{port}"
    assert "otel" in (DOCKER / "Dockerfile").read_text().partition("ARG EXTRAS=")[2].splitlines()[0]


def test_what_stays_up_is_asked_for_its_health_by_the_command_for_it() -> None:
    composition = YAML(typ="safe").load((ROOT / "deploy" / "compose" / "compose.yaml").read_text(encoding="utf-8"))
    ours = {name: each for name, each in composition["services"].items() if each["image"] == "stream-worker:local"}
    asked = {name: each["healthcheck"]["test"] for name, each in ours.items() if each["restart"] != "no"}
    assert asked.keys() == {"worker-0", "worker-1", "console"}
    for kind, *command in asked.values():
        assert (kind, command[:2]) == ("CMD", ["stream-worker", "health"])
        parse(command[1:])
    assert composition["services"]["console"]["ports"] == ["127.0.0.1:8080:8080"]


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    copied = [
        name
        for line in (DOCKER / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    ]
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in allowed, name


def test_an_unknown_variant_is_refused(tmp_path: Path) -> None:
    environment = os.environ | {"VARIANT": "tpu"}
    command = ["sh", str(DOCKER / "install.sh"), str(tmp_path / "venv")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cpu or cuda" in done.stderr


@pytest.mark.timeout(1_800)
def test_the_steps_of_the_image_give_a_worker_that_runs(tmp_path: Path) -> None:
    """What the first stage runs, in a virtual environment that is fresh but for PyTorch."""
    venv = tmp_path / "venv"
    _lend_torch(venv)
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "EXTRAS": "console,otel"}
    subprocess.run(
        ["sh", str(DOCKER / "install.sh"), str(venv)], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "STREAM_WORKER"))}
    for arguments in (["version"], ["config", "schema"], ["console", "--help"]):
        command = [str(venv / "bin" / "stream-worker"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def _lend_torch(venv: Path) -> None:
    """Some gigabytes that this environment has already, of the very versions that are pinned; pip finds them there."""
    ours = Path(sysconfig.get_path("purelib"))
    theirs = venv / ours.relative_to(sys.prefix)
    theirs.mkdir(parents=True)
    for pattern in ("torch*", "functorch", "nvidia*", "triton*"):
        for each in ours.glob(pattern):
            (theirs / each.name).symlink_to(each)
