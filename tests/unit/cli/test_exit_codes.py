"""Each exit code of the page, by a command that ends so."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream_worker.cli.exit_codes import ExitCode
from tests.eventually import eventually
from tests.unit.cli.test_frame import run

ROOT = Path(__file__).parents[3]

_START_S = 60.0

ENDS = {
    ExitCode.FINE: "version",
    ExitCode.FINDINGS: "schemas --check --dir .",
    ExitCode.WRONG_USAGE: "version --colour",
    ExitCode.MISSING: "health --url 127.0.0.1:9",
    ExitCode.UNSAFE: "topics create --kafka 127.0.0.1:9",
    ExitCode.NOTHING_TO_TEST: "test",
}


@pytest.mark.parametrize("code", ENDS)
def test_a_command_ends_with(code: ExitCode, tmp_path: Path) -> None:
    done = run(ENDS[code], tmp_path)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    """`demo` waits for its lines; nothing is started yet."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stream_worker", "demo"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        eventually(lambda: is_reading(child.pid), _START_S)
        child.send_signal(signal.SIGINT)
        out, errors = child.communicate(timeout=60)
    assert child.returncode == ExitCode.INTERRUPTED
    assert (out, errors) == (b"", b"")


def is_reading(pid: int) -> bool:
    """Whether it waits in a read of its standard input: the system's call and its first argument are both 0."""
    return Path(f"/proc/{pid}/syscall").read_text().startswith("0 0x0 ")


def test_every_code_is_tested() -> None:
    assert {*ENDS, ExitCode.INTERRUPTED} == set(ExitCode)
