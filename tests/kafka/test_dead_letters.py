"""`dlq` on the real broker: what is listed, shown, sent back and put aside; nothing of a message is printed."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from stream_worker.cli.dlq import app
from stream_worker.clock import Clock
from stream_worker.inference.stepper import Stepper
from stream_worker.orders import Fault
from stream_worker.settings import Settings
from tests.kafka.cluster import QUICK, Cluster, scripted
from tests.kafka.conftest import SettingsFor
from tests.kafka.topic_reader import TopicReader
from tests.settings_file import written
from tests.unit.worker.test_faults import Failing

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

    def says(self, *arguments: str) -> str:
        """All that it prints, on both streams."""
        result = CliRunner().invoke(app, [*arguments, "--config", str(self._file)])
        return result.stdout + result.stderr

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


def _answers_nobody(clock: Clock) -> Stepper:
    engine = Failing(scripted()(clock))
    engine.fault = Fault.EVENT
    return engine


@pytest.fixture
def mixed(settings_for: SettingsFor) -> Settings:
    """Four letters of a bot's turns, of three conversations, and then two of records that are no events."""
    settings = settings_for(kafka=QUICK, admission={"max_attempts": 1}, topics={"partitions": 1})
    with Cluster(settings, _answers_nobody) as cluster:
        cluster.start()
        for number, conversation in enumerate(("c-1", "c-1", "c-2", "c-3")):
            cluster.events.say(conversation, f"{_CANARY} {number}")
            cluster.run_until(lambda: len(cluster.outputs.buried) == len(cluster.events.sent), "a letter")
        for conversation in ("c-1", "c-4"):
            cluster.events.raw(conversation, orjson.dumps({"conversation_id": conversation, "text": _CANARY}))
        cluster.run_until(lambda: len(cluster.outputs.buried) == 6, "six letters")
        cluster.stop()
    return settings


def test_each_filter_lets_through_what_it_names_in_every_command(mixed: Settings, tmp_path: Path) -> None:
    operator = _Operator(mixed, tmp_path)
    letters = operator.lists()
    assert [row["reason"] for row in letters] == ["attempts_exhausted"] * 4 + ["invalid_event"] * 2
    times = [row["at"] for row in letters]
    assert times[:4] == sorted(set(times[:4])), "the test needs letters of different times"
    filters: dict[tuple[str, ...], list[int]] = {
        ("--reason", "attempts_exhausted"): [0, 1, 2, 3],
        ("--reason", "attempts_exhausted", "--reason", "invalid_event"): [0, 1, 2, 3, 4, 5],
        ("--reason", "no_bot"): [],
        ("--bot", "test"): [0, 1, 2, 3],
        ("--bot", "other"): [],
        ("--conversation", "c-1"): [0, 1, 4],
        ("--since", times[1]): [1, 2, 3, 4, 5],
        ("--until", times[1]): [0],
        ("--since", times[1], "--until", times[3]): [1, 2],
        ("--since", "1h", "--conversation", "c-1", "--bot", "test", "--reason", "attempts_exhausted"): [0, 1],
        ("--until", "1h"): [],
    }
    for given, places in filters.items():
        expected = [letters[place] for place in places]
        assert operator.lists(*given) == expected, given
        for command in ("redrive", "drop") if len(given) > 2 else ():
            planned = json.loads(operator.runs(command, *given, "--dry-run", "-o", "json"))
            assert planned == expected, (command, given)
    assert operator.lists() == letters, "nothing was changed by looking"


def test_what_is_sent_back_is_as_it_came_in_its_order_and_marked_and_nothing_of_it_is_printed(
    mixed: Settings, tmp_path: Path
) -> None:
    operator = _Operator(mixed, tmp_path)
    name = operator.lists("--reason", "invalid_event")[0]["letter"]
    for command in (
        "list --all",
        f"show {name}",
        "redrive --dry-run",
        "drop --dry-run",
        "drop",
        f"drop --letter {name}",
    ):
        assert _CANARY not in operator.says(*command.split(), "-o", "json"), command
    assert _CANARY not in operator.says("list") + operator.says("show", name)
    assert _CANARY in operator.says("show", name, "--show-content")
    assert _CANARY not in operator.says("drop", "--reason", "invalid_event", "--yes")
    operator.runs("drop", "--letter", operator.lists("--conversation", "c-3")[0]["letter"], "--yes")
    assert _CANARY not in operator.says("redrive", "--yes") + operator.says("redrive", "--yes")
    assert operator.lists() == []
    reader = TopicReader(mixed)
    sent_back = reader.redriven
    reader.close()
    assert [(key, orjson.loads(value or b"")["text"]) for key, value, _ in sent_back] == [
        (b"c-1", f"{_CANARY} 0"),
        (b"c-1", f"{_CANARY} 1"),
        (b"c-2", f"{_CANARY} 2"),
    ], "once each: neither what was dropped, nor anything twice"
    assert len({headers["redrive"] for *_, headers in sent_back}) == 3
    assert not any(name.startswith("sw_") for *_, headers in sent_back for name in headers)
