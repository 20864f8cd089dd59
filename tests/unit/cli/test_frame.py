"""What every command has in common: instant help, exit codes, nearest names, examples that run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stream_worker.cli.app import COMMANDS
from stream_worker.cli.exit_codes import ExitCode, exit_code
from stream_worker.errors import ClientsBroken, Code, Fatal, Misconfigured, Missing, PartitionRefused, StreamWorkerError

HEAVY = ("torch", "transformers", "confluent_kafka", "rocksdict", "lingua")
WITHOUT_A_BROKER = (
    "version -o json",
    "config show --resolved --sources",
    "config schema",
    "schemas --check",
)


def run(arguments: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_WORKER__")}
    return subprocess.run(
        [sys.executable, "-m", "stream_worker", *arguments.split()],
        cwd=folder,
        env=clean | environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "stream_worker", "--help"]
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert imported.isdisjoint(HEAVY)
    assert all(f" {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_and_imports_nothing_heavy_for_it(name: str) -> None:
    script = (
        "import sys; from stream_worker.cli.app import COMMANDS; "
        f"COMMANDS[{name!r}].load(); print([each for each in {HEAVY!r} if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("example", WITHOUT_A_BROKER)
def test_the_examples_that_need_no_broker_work(example: str) -> None:
    done = run(example, Path(__file__).parents[3])
    assert (done.returncode, done.stderr) == (0, "")
    help_of = run(f"{example.split(' -')[0]} --help", Path(__file__).parents[3])
    assert example in re.sub(r"\s+", " ", help_of.stdout)


def test_a_misspelt_command_names_the_nearest(tmp_path: Path) -> None:
    done = run("versoin", tmp_path)
    assert done.returncode == ExitCode.WRONG_USAGE
    assert done.stderr == "Error: there is no command `versoin`: did you mean `version`?\n"


def test_a_wrong_setting_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "stream-worker.yaml").write_text("kafkaa: {}\n")
    done = run("config check", tmp_path)
    assert done.returncode == ExitCode.WRONG_USAGE
    assert done.stderr == "Error: SW-C002 stream-worker.yaml:1:1: unknown key `kafkaa`: did you mean `kafka`?\n"


def test_a_reserved_client_setting_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "stream-worker.yaml").write_text("kafka: {client: {isolation.level: read_uncommitted}}\n")
    done = run("config check", tmp_path)
    assert done.returncode == ExitCode.WRONG_USAGE
    assert "only committed events may be answered" in done.stderr


def test_status_without_a_broker_says_so_within_seconds(tmp_path: Path) -> None:
    done = run("status --kafka 127.0.0.1:9", tmp_path)
    assert done.returncode == ExitCode.MISSING
    assert done.stderr.startswith("Error: SW-K001 ")


@pytest.mark.parametrize("output", ["table", "json", "jsonl"])
def test_settings_are_shown_in_each_format_without_colours_in_a_pipe(output: str, tmp_path: Path) -> None:
    done = run(f"config show --resolved --sources -o {output}", tmp_path, STREAM_WORKER__TICK_MS="9")
    assert "\x1b" not in done.stdout
    row = {"setting": "tick_ms", "value": 9, "source": "env STREAM_WORKER__TICK_MS"}
    match output:
        case "json":
            assert row in json.loads(done.stdout)
        case "jsonl":
            assert row in [json.loads(line) for line in done.stdout.splitlines()]
        case _:
            assert "tick_ms\t9\tenv STREAM_WORKER__TICK_MS" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Misconfigured(Code.CONFIG_UNREADABLE, ""), 2),
        (Missing(Code.BROKER_UNREACHABLE, ""), 3),
        (PartitionRefused(Code.LEDGER_FOREIGN, "", partition=0), 4),
        (Fatal(Code.FENCED, ""), 1),
        (ClientsBroken(Code.CLIENTS_BROKEN, ""), 1),
    ],
)
def test_every_error_has_its_exit_code(error: StreamWorkerError, code: int) -> None:
    assert exit_code(error) == code
