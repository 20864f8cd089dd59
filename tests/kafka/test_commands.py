"""`broker start` and `topics` as a person or a script meets them."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

ROOT = Path(__file__).parents[2]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "stream_worker", *arguments]


@pytest.fixture
def environment(broker: str) -> Iterator[dict[str, str]]:
    """An application of its own, told by variables alone."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield os.environ | {
        "PYTHONPATH": str(ROOT),
        "STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS": broker,
        "STREAM_WORKER__APPLICATION_ID": name,
        "STREAM_WORKER__TOPICS__EVENTS": f"{name}.chat.events",
        "STREAM_WORKER__TOPICS__PARTITIONS": "2",
        "STREAM_WORKER__TOPICS__REPLICATION_FACTOR": "1",
        "STREAM_WORKER__TOPICS__MIN_INSYNC_REPLICAS": "1",
        "STREAM_WORKER__OUTPUTS__PREFIX": f"{name}.",
    }
    admin = AdminClient({"bootstrap.servers": broker})
    if made := [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(name)]:
        admin.delete_topics(made)


def run(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_topics_are_created_only_by_who_means_it(environment: dict[str, str], tmp_path: Path) -> None:
    refused = run(environment, tmp_path, "topics", "create")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "--yes" in refused.stderr

    planned = run(environment, tmp_path, "topics", "create", "--dry-run", "-o", "json")
    assert {row["result"] for row in json.loads(planned.stdout)} == {"would_be_created"}

    missing = run(environment, tmp_path, "topics", "check", "-o", "json")
    assert missing.returncode == 1
    assert {row["cure"] for row in json.loads(missing.stdout)} == {"stream-worker topics create"}

    created = run(environment, tmp_path, "topics", "create", "--yes", "-o", "json")
    assert (created.returncode, created.stderr) == (0, "")
    assert {row["result"] for row in json.loads(created.stdout)} == {"created"}

    checked = run(environment, tmp_path, "topics", "check", "-o", "json")
    assert (checked.returncode, json.loads(checked.stdout)) == (0, [])


def test_no_broker_is_one_error_and_exit_code_3(environment: dict[str, str], tmp_path: Path) -> None:
    alone = run(environment, tmp_path, "topics", "check", "--kafka", "127.0.0.1:9")
    assert alone.returncode == 3
    assert "SW-K001" in alone.stderr
    assert "Traceback" not in alone.stderr


def test_a_misspelt_topic_names_the_nearest_one(environment: dict[str, str], tmp_path: Path) -> None:
    assert run(environment, tmp_path, "topics", "create", "--yes").returncode == 0
    prefix = environment["STREAM_WORKER__OUTPUTS__PREFIX"]
    bot = tmp_path / "bot.yaml"
    bot.write_text("bot: shop\nfallback: {reply: {template: Hello}}\n", encoding="utf-8")
    scripted = {"STREAM_WORKER__ENGINE__KIND": "scripted"}
    misspelt = {
        "send Hello": ("EVENTS", f"{prefix}chat.evnts", "chat.events"),
        "status": ("EVENTS", f"{prefix}chat.evnts", "chat.events"),
        "conversation show c-1": ("EVENTS", f"{prefix}chat.evnts", "chat.events"),
        f"run --bot {bot}": ("REPLIES", "chat.replise", "chat.replies"),
        "tail --timeout 5": ("REPLIES", "chat.replise", "chat.replies"),
        "dlq list": ("DEAD_LETTERS", "chat.dead-leters", "chat.dead-letters"),
    }
    for line, (setting, wrong, meant) in misspelt.items():
        done = run(environment | scripted | {f"STREAM_WORKER__TOPICS__{setting}": wrong}, tmp_path, *line.split())
        assert done.returncode == 3, done.stderr
        assert "SW-K002" in done.stderr
        assert f"did you mean {prefix}{meant}?" in done.stderr, line
    checked = run(environment | {"STREAM_WORKER__TOPICS__METRICS": "chat.metrisc"}, tmp_path, "topics", "check")
    assert checked.returncode == 1
    assert f"did you mean {prefix}chat.metrics?" in checked.stdout


def test_a_started_broker_says_how_to_use_it_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    arguments = command("broker", "start", "--port", "0", "--folder", str(tmp_path))
    pipe = subprocess.PIPE
    with subprocess.Popen(
        arguments, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdout is not None
        where, log, use, one_node, _stop = (process.stdout.readline() for _ in range(5))
        servers = where.removeprefix("Kafka").strip()
        assert AdminClient({"bootstrap.servers": servers}).list_topics(timeout=10).brokers
        variables = dict(each.split("=") for each in one_node.split() if "=" in each)
        created = run(os.environ | {"PYTHONPATH": str(ROOT)} | variables, tmp_path, *one_node.split()[5:], "--yes")
        assert created.returncode == 0, created.stdout
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=5)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert f"--kafka {servers}" in use
    assert str(tmp_path / "broker.log") in log
