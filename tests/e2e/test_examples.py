"""The example at the end of each command's help is typed into a shell as it stands, and works."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stream_worker.cli.app import COMMANDS
from stream_worker.cli.demo import demo_settings
from stream_worker.cli.exit_codes import ExitCode
from stream_worker.kafka.topic_admin import connect, create
from stream_worker.kafka.topics import topic_table
from stream_worker.settings import Settings
from tests.eventually import eventually
from tests.kafka.conftest import unique_settings
from tests.kafka.event_writer import EventWriter
from tests.kafka.topic_reader import TopicReader

ROOT = Path(__file__).parents[2]
_START_S = 60.0

#: These run until they are stopped, so their tests stop them.
STAYING = ("run --config stream-worker.yaml", "broker start --port 9092", "console --allow-changes")
#: It wants all workers stopped, and one is running here.
REFUSED = "topics repartition --to 192 --dry-run"
#: What is typed into those that read the keyboard.
TYPED = {"chat --explain": "Hello\n/quit\n"}


def examples() -> list[str]:
    """Every example, by walking the commands; one that lacks an example fails here."""
    found = []
    for entry in COMMANDS.values():
        command: Any = entry.load()
        for each in command.commands.values() if entry.is_group else [command]:
            example = re.fullmatch("Example: (.+)", each.epilog or "")
            assert example is not None, f"{entry.name} {each.name} ends without an example"
            found.append(example[1])
    return found


QUICK = [each for each in examples() if not each.endswith(STAYING)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demo_bot: Path) -> Path:
    """What the examples name: a bot, its examples and what was learnt from them, and the schemas."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copy(demo_bot, folder)
    shutil.copytree(demo_bot.parent / "heads", folder / "heads")
    (folder / "nlu.yml").write_bytes(files("stream_worker").joinpath("templates/demo/nlu.yml").read_bytes())
    conversations = files("stream_worker") / "templates" / "demo" / "tests"
    shutil.copytree(str(conversations), folder / "tests")
    shutil.copytree(ROOT / "schemas", folder / "schemas")
    return folder


@pytest.fixture(scope="module")
def settings(broker: str, folder: Path) -> Iterator[Settings]:
    settings = unique_settings(
        broker,
        partitions=2,
        instance="0",
        engine={"kind": "scripted"},
        bots=[{"file": "bot.yaml"}],
        conversation={"state_dir": "state"},
        observability={"host": "127.0.0.1", "port": free_port()},
    )
    create(connect(settings), topic_table(settings))
    with (folder / "stream-worker.yaml").open("w") as out:
        YAML(typ="safe").dump(settings.model_dump(mode="json", exclude_none=True), out)
    yield settings
    specs = (*topic_table(settings), *topic_table(demo_settings(broker)))
    connect(settings).delete_topics([spec.name for spec in specs])


@pytest.fixture(scope="module")
def worker(settings: Settings, folder: Path) -> Iterator[subprocess.Popen[str]]:
    with staying("stream-worker run --config stream-worker.yaml", folder) as child:
        eventually(lambda: is_ready(settings.observability.port), _START_S)
        leave_a_dead_letter(settings)
        yield child


def leave_a_dead_letter(settings: Settings) -> None:
    """The one that the examples name: the first of its topic."""
    EventWriter(settings).raw("c-1", b"no event")
    letters = TopicReader(settings)
    eventually(lambda: letters.dead_letter_headers)
    letters.close()


def environment(extra: dict[str, str]) -> dict[str, str]:
    """The command is on the path, as it is after an installation."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)} | extra


def shell(line: str, folder: Path, extra: dict[str, str], typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=folder,
        env=environment(extra),
        input=typed,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@contextlib.contextmanager
def staying(line: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    command = ["bash", "-c", f"exec {line}"]
    with subprocess.Popen(command, cwd=folder, env=environment({}), stdout=pipe, stderr=pipe, text=True) as child:
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            child.communicate(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("example", QUICK)
def test_the_example_works(example: str, settings: Settings, worker: subprocess.Popen[str], folder: Path) -> None:
    typed = next((text for command, text in TYPED.items() if example.endswith(command)), "")
    # Variables of another worker are nothing to the demo, which has settings of its own.
    foreign = {"STREAM_WORKER__OBSERVABILITY__PORT": "1"} if " demo " in example else {}
    servers = settings.kafka.bootstrap_servers
    done = shell(example, folder, {"KAFKA_BOOTSTRAP_SERVERS": servers} | foreign, typed)
    expected = ExitCode.UNSAFE if example.endswith(REFUSED) else 0
    assert done.returncode == expected, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert worker.poll() is None


def test_status_names_the_owner_of_each_partition(
    settings: Settings, worker: subprocess.Popen[str], folder: Path
) -> None:
    found = json.loads(shell("stream-worker status -o json", folder, {}).stdout)
    assert (found["group"], found["members"], worker.poll()) == (settings.application_id, 1, None)
    assert [row["partition"] for row in found["partitions"]] == [0, 1]
    assert {row["owner"] for row in found["partitions"]} == {"0-auto"}


def test_a_check_online_loads_the_models_and_asks_the_broker(settings: Settings, folder: Path) -> None:
    real = {"STREAM_WORKER__ENGINE__KIND": "torch"}
    done = shell("stream-worker config check --online", folder, real)
    assert done.returncode == 0, done.stderr
    assert "smollm2-135m-instruct" in done.stdout
    assert "append-only" in done.stdout
    assert settings.kafka.bootstrap_servers in done.stdout

    absent = shell("stream-worker config check --online", folder, real | {"STREAM_WORKER__TOPICS__EVENTS": "nowhere"})
    assert absent.returncode == 1
    assert "topics\terror\tnowhere: " in absent.stdout

    unreachable = shell("stream-worker config check --online --kafka 127.0.0.1:9", folder, {})
    assert unreachable.returncode == 3
    assert "engine\tfine\t" in unreachable.stdout


def test_a_model_that_is_not_here_is_named_with_the_command_that_brings_it(settings: Settings, folder: Path) -> None:
    nobody = {"HF_HUB_OFFLINE": "1", "STREAM_WORKER__ENGINE__KIND": "torch", "STREAM_WORKER__ENGINE__MODEL": "no/such"}
    done = shell("stream-worker run", folder, nobody | {"STREAM_WORKER__OBSERVABILITY__PORT": "0"})
    assert done.returncode == 3
    assert "SW-M001" in done.stderr
    assert "hf download no/such" in done.stderr


def test_the_example_of_the_console_works_or_names_the_port(settings: Settings, folder: Path) -> None:
    """Somebody may have a page of their own on this machine."""
    assert settings.kafka.bootstrap_servers
    with staying("stream-worker console --allow-changes", folder) as child:
        assert child.stderr is not None
        assert "8080" in child.stderr.readline()


def test_the_example_of_the_broker_works_or_names_the_port(folder: Path) -> None:
    """Somebody may have a Kafka of their own on this machine."""
    with staying("stream-worker broker start --port 9092", folder) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        if first:
            assert first.split() == ["Kafka", "127.0.0.1:9092"]
        else:
            assert child.stderr is not None
            assert "Port 9092 is taken" in child.stderr.read()
