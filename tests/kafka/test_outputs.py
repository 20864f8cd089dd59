"""What commands print about a real cluster is as their published schemas say."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from stream_worker.cli.app import app
from tests.kafka.cluster import QUICK, Cluster
from tests.kafka.conftest import SettingsFor
from tests.outputs import FORMATS, ON_A_BROKER, assert_as_documented

_LINES = {
    "topics create": "--dry-run",
    "topics check": "",
    "send": "Hello --conversation c-2",
    "status": "",
    "lag": "",
    "conversation show": "c-1 --text",
    "conversation explain": "c-1",
    "dlq list": "",
    "dlq show": "0/0 --show-content",
    "dlq redrive": "--dry-run",
    "dlq drop": "--dry-run",
}


def test_what_is_printed_of_a_cluster_is_as_its_schema_says(
    settings_for: SettingsFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three copies are wanted where one node is: so that a check has findings.
    settings = settings_for(kafka=QUICK)
    wanted = settings.model_dump(mode="json", exclude_defaults=True)
    wanted["topics"] |= {"replication_factor": 3, "min_insync_replicas": 2}
    (tmp_path / "stream-worker.yaml").write_bytes(orjson.dumps(wanted))
    monkeypatch.chdir(tmp_path)
    with Cluster(settings) as cluster:
        cluster.start()
        cluster.events.say("c-1")
        cluster.events.raw("0", b"no event")
        cluster.run_until(lambda: cluster.outputs.dead_letter_headers and cluster.outputs.replies, "both")
        for output in FORMATS:
            for command, options in _LINES.items():
                done = CliRunner().invoke(app, [*command.split(), *options.split(), "-o", output])
                assert done.exit_code in (0, 1), done.output
                assert_as_documented(command, done.stdout, output)
            _follow(cluster, tmp_path, output)
    assert {*_LINES, "tail"} == ON_A_BROKER


def _follow(cluster: Cluster, folder: Path, output: str) -> None:
    """Talks until enough was seen."""
    line = [sys.executable, "-m", "stream_worker", "tail", "--limit", "4", "--timeout", "30", "-o", output]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(line, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as tail:

        def has_ended() -> bool:
            cluster.events.say("c-3")
            return tail.poll() is not None

        cluster.run_until(has_ended, "the end of tail")
        assert tail.stdout is not None
        found = assert_as_documented("tail", tail.stdout.read(), output)
    assert len(found[0] if output == "json" else found) == 4
