"""Decisions need no client and no model library: their tests pass where neither can be imported."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
DECISIONS = (
    "tests/unit/admission/test_admission.py",
    "tests/unit/conversation/test_mailbox.py",
    "tests/unit/kafka/test_ledger.py",
    "tests/unit/kafka/test_reconcile.py",
    "tests/unit/stages",
)

#: Runs pytest in an interpreter in which the named packages cannot be imported.
_WITHOUT = """
import sys
import pytest

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("confluent_kafka", "prometheus_client", "rocksdict", "torch", "transformers"):
            raise ImportError(f"{name} is refused here")

sys.meta_path.insert(0, Refuse())
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def run_without_libraries(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _WITHOUT, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_decisions_run_without_client_and_model_libraries() -> None:
    done = run_without_libraries(*DECISIONS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_edge_does_not(tmp_path: Path) -> None:
    """The refusal is real: what needs the client fails in the same interpreter."""
    edge = tmp_path / "test_edge.py"
    edge.write_text("import stream_worker.kafka.gateway\n", encoding="utf-8")
    done = run_without_libraries(str(edge))
    assert "confluent_kafka is refused here" in done.stdout


_ROOM = re.compile(r"^\| `(\w+)/` \| ((?:`[\w.*]+`(?:, )?)+) \|", re.MULTILINE)


def test_what_rooms_may_import_of_each_other_is_what_the_docs_list() -> None:
    _, _, section = (ROOT / "docs" / "architecture.md").read_text("utf-8").partition("### What a room may import")
    listed = {room: set(re.findall(r"`([\w.*]+)`", imports)) for room, imports in _ROOM.findall(section)}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    beside = {each["name"].split()[0]: each for each in contracts if "imports no room beside it" in each["name"]}
    allowed = {
        room: {imported.partition(" -> stream_worker.")[2] for imported in each["ignore_imports"]}
        for room, each in beside.items()
        if "ignore_imports" in each
    }
    assert allowed == listed
    rooms = {f"stream_worker.{room}" for room in beside}
    for room, each in beside.items():
        assert rooms - {f"stream_worker.{room}"} <= set(each["forbidden_modules"]), room
