"""The tutorial is followed line by line, and then what the other pages tell an operator to type is typed, too."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stream_worker.kafka.topic_admin import connect
from stream_worker.kafka.topics import topic_table
from stream_worker.settings import Settings
from stream_worker.settings.loader import load_settings
from tests.doc_blocks import ROOT, Block, blocks, documents
from tests.e2e.test_examples import free_port, is_ready, leave_a_dead_letter
from tests.eventually import eventually

TUTORIAL = ROOT / "docs" / "tutorial.md"
_START_S = 120.0
_COMMAND_S = 240.0

#: What is not typed here, and why.
NOT_TYPED = {
    "source .venv/bin/activate": "the tests' environment is active",
    "stream-worker broker start --port 9092": "the tests have a broker; its own tests start it",
    "stream-worker topics create": "asks at a terminal; the tutorial says --yes",
    "stream-worker console --allow-changes": "stays; it has tests of its own",
    "stream-worker test --engine real": "the templates' tests load the model",
    "stream-worker test --judge http://127.0.0.1:8000/v1 --judge-model NAME": "needs a server that judges",
    "stream-worker tail --limit 5": "waits for other people's messages",
    "stream-worker nlu evaluate heads test.yml --report report": "test.yml is the reader's",
    "stream-worker nlu evaluate heads nlu.yml --folds 5": "takes a minute; the commands' examples run it",
    "stream-worker nlu evaluate heads nlu.yml --folds 5 --fail-under 0.85": "as above",
    "stream-worker nlu train nlu.yml -o heads": "`stream-worker test` has trained them",
    "stream-worker topics repartition --to 4 --dry-run": "with the workers stopped: test_operations.py types it",
    "stream-worker topics repartition --to 4 --yes": "as above",
    "stream-worker status --watch --exit-when-healthy --timeout 60 --worker http://127.0.0.1:9464": "another port here",
}
#: Findings are no failure of the command.
MAY_FIND = ("stream-worker nlu validate", "stream-worker doctor", "stream-worker topics check")
OTHER_PROJECT = ("stream-worker init", "stream-worker run")
TYPED = {"stream-worker chat --explain": "how long is the warranty?\n/quit\n"}


@dataclass(slots=True)
class Reader:
    """Somebody at a terminal, who follows a page."""

    folder: Path
    environment: dict[str, str]
    staying: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def types(self, line: str) -> None:
        command = line.partition("  #")[0].strip()
        if command in NOT_TYPED:
            return
        if command.startswith("cd ") and "&&" not in command:
            self.folder /= command.removeprefix("cd ")
        elif command.startswith("stream-worker run"):
            self._stays(command)
        else:
            self._ends(command)

    def _ends(self, command: str) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=self.environment,
            input=TYPED.get(command, ""),
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
        fine = (0, 1) if command.startswith(MAY_FIND) else (0,)
        assert done.returncode in fine, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr

    def _stays(self, command: str) -> None:
        with (self.folder / "run.log").open("wb") as log:
            child = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )
        self.staying.append(child)
        port = int(self.environment["STREAM_WORKER__OBSERVABILITY__PORT"])
        eventually(lambda: child.poll() is not None or is_ready(port), _START_S)
        assert child.poll() is None, (self.folder / "run.log").read_text()

    def writes(self, block: Block) -> None:
        """What the tutorial says to put into the project's files."""
        yaml = YAML()
        told = yaml.load(block.text)
        if "steps" in told:
            (self.folder / "tests/conversations/warranty.yml").write_text(block.text, encoding="utf-8")
            return
        file = self.folder / ("nlu.yml" if "nlu" in told else "bot.yaml")
        found = yaml.load(file.read_text(encoding="utf-8"))
        if "nlu" in told:
            found["nlu"] += told["nlu"]
        else:
            found["intents"].update(told["intents"])
        with file.open("w", encoding="utf-8") as out:
            yaml.dump(found, out)

    @property
    def settings(self) -> Settings:
        return load_settings(self.folder / "stream-worker.yaml", {}, self.environment)


@pytest.fixture(scope="module")
def reader(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "KAFKA_BOOTSTRAP_SERVERS": broker,
        # Names of its own, and a model that needs no loading.
        "STREAM_WORKER__TOPICS__EVENTS": "tutorial.chat.events",
        "STREAM_WORKER__TOPICS__PARTITIONS": "1",
        "STREAM_WORKER__OUTPUTS__PREFIX": "tutorial.",
        "STREAM_WORKER__ENGINE__KIND": "scripted",
        "STREAM_WORKER__OBSERVABILITY__PORT": str(free_port()),
    }
    found = Reader(tmp_path_factory.mktemp("reader"), environment)
    yield found
    for child in found.staying:
        child.terminate()
        child.wait(60)
    settings = found.settings
    connect(settings).delete_topics([spec.name for spec in topic_table(settings)])


@pytest.mark.timeout(900)
def test_the_tutorial_can_be_followed(reader: Reader) -> None:
    for block in blocks([TUTORIAL]):
        if block.language == "yaml":
            reader.writes(block)
        for line in block.commands:
            reader.types(line)


def elsewhere() -> list[str]:
    """Each command of ours on other pages that begins with our name and needs no other project, once."""
    found: dict[str, None] = {}
    for block in blocks([file for file in documents() if file.name not in ("tutorial.md", "commands.md")]):
        for line in block.commands:
            command = line.partition("  #")[0].strip()
            if command.startswith("stream-worker ") and not command.startswith(
                ("stream-worker init", "stream-worker run")
            ):
                found[command] = None
    return list(found)


@pytest.mark.timeout(900)
def test_what_the_pages_tell_an_operator_to_type_works(reader: Reader) -> None:
    assert reader.staying, "the tutorial's worker runs"
    leave_a_dead_letter(reader.settings)
    for name in ("c-42", "CONVERSATION"):
        reader.types(f"stream-worker send hello --conversation {name}")
    failed = []
    for command in elsewhere():
        try:
            reader.types(command)
        except AssertionError as error:
            failed.append(str(error))
    assert not failed, "\n\n".join(failed)


def test_what_is_not_typed_stands_in_the_docs() -> None:
    lines = {line.partition("  #")[0].strip() for block in blocks(documents()) for line in block.commands}
    assert NOT_TYPED.keys() <= lines
