"""`dlq` on the real broker: what is listed, shown, sent back and put aside; nothing of a message is printed."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from stream_worker.cli.dlq import app
from stream_worker.settings import Settings
from tests.kafka.cluster import QUICK, Cluster
from tests.kafka.conftest import SettingsFor
from tests.settings_file import written

_CANARY = "canary-7c1f"


@pytest.fixture
def broken(settings_for: SettingsFor) -> Settings:
    """Three events of two conversations that no worker could decode, and one that was answered."""
    settings = settings_for(kafka=QUICK)
    with Cluster(settings) as cluster:
        cluster.start()
        for conversation in ("c-1", "c-2", "c-1"):
            event = {"conversation_id": conversation, "message_id": f"m-{conversation}", "text": _CANARY}
            cluster.events.raw(conversation, orjson.dumps({**event, "sender": 7}))
        cluster.events.say("c-1")
        cluster.run_until(lambda: len(cluster.outputs.dead_letter_headers) == 3, "three dead letters")
        cluster.run_until_settled()
        cluster.stop()
    return settings


class _Operator:
    def __init__(self, settings: Settings, folder: Path) -> None:
        self._file = written(settings, folder)

    def runs(self, *arguments: str, exit_code: int = 0) -> str:
        result = CliRunner().invoke(app, [*arguments, "--config", str(self._file)])
        assert result.exit_code == exit_code, result.output
        return result.stdout

    def lists(self, *arguments: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.runs("list", "-o", "json", *arguments))
        return rows


def test_letters_are_listed_shown_redriven_once_and_dropped(broken: Settings, tmp_path: Path) -> None:
    operator = _Operator(broken, tmp_path)
    listed = operator.lists()
    assert [row["conversation"] for row in listed if row["conversation"] == "c-1"] == ["c-1", "c-1"]
    assert {row["reason"] for row in listed} == {"invalid_event"}
    assert operator.lists("--reason", "no_bot") == []
    assert operator.lists("--since", "1h", "--conversation", "c-2") == [r for r in listed if r["conversation"] == "c-2"]
    name = listed[0]["letter"]
    assert _CANARY not in operator.runs("list") + operator.runs("show", name)
    assert _CANARY in operator.runs("show", name, "--show-content")

    operator.runs("redrive", "--conversation", "c-1", exit_code=4)
    assert operator.lists() == listed, "without --yes nothing changes"
    planned = json.loads(operator.runs("redrive", "--conversation", "c-1", "--dry-run", "-o", "json"))
    assert [row["letter"] for row in planned] == [r["letter"] for r in listed if r["conversation"] == "c-1"]
    assert operator.lists() == listed
    operator.runs("redrive", "--conversation", "c-1", "--yes")
    assert [row["conversation"] for row in operator.lists()] == ["c-2"]
    sent = planned[0]["letter"]
    operator.runs("redrive", "--letter", sent, "--yes", exit_code=4)
    operator.runs("redrive", "--letter", sent, "--yes", "--again")

    with Cluster(broken) as cluster:
        cluster.start("b")
        cluster.run_until(
            lambda: len(cluster.outputs.dead_letter_headers) >= 3 + 3 + 3, "they came back and died again"
        )
        redrives = [headers["redrive"] for headers in cluster.outputs.dead_letter_headers if "redrive" in headers]
        assert len(set(redrives)) == 3, "each redrive has a name of its own"
        cluster.stop("b")
    operator.runs("drop", "--conversation", "c-2", "--yes")
    assert "c-2" not in {row["conversation"] for row in operator.lists()}
    assert {row["fate"] for row in operator.lists("--all")} == {"open", "redriven", "dropped"}
