"""Every reading command has one option for its format, and prints what its published schema says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from prometheus_client import CollectorRegistry

from stream_worker.cli.app import COMMANDS
from stream_worker.cli.output import Format
from stream_worker.cli.outputs.catalogue import OUTPUTS, output_schemas
from stream_worker.clock import ManualClock
from stream_worker.observability.health import HealthBoard, HealthServer
from tests.outputs import (
    FORMATS,
    OF_UNDERSTANDING,
    ON_A_BROKER,
    WITH_THE_WORKERS_STOPPED,
    WITHOUT_A_BROKER,
    assert_as_documented,
)
from tests.unit.cli.test_frame import run

ROOT = Path(__file__).parents[3]
#: These print no rows: they stay until they are stopped, write files, or print a file's content.
WITHOUT_ROWS = {
    "broker start",
    "chat",
    "completion",
    "config migrate",
    "config schema",
    "console",
    "debug bundle",
    "demo",
    "init",
    "nlu train",
    "run",
    "test",
}


def commands() -> Iterator[tuple[str, Any]]:
    for entry in COMMANDS.values():
        command: Any = entry.load()
        if entry.is_group:
            yield from ((f"{entry.name} {name}", each) for name, each in command.commands.items())
        else:
            yield entry.name, command


def test_every_command_that_prints_rows_prints_them_in_each_format_and_has_a_schema() -> None:
    found = {
        name
        for name, command in commands()
        for parameter in command.params
        if "-o" in parameter.opts and isinstance(parameter.default, Format)
    }
    documented = {output.command for output in OUTPUTS}
    assert found == documented
    assert {name for name, _ in commands()} - found == WITHOUT_ROWS


def test_every_commands_output_is_checked_somewhere() -> None:
    checked = WITHOUT_A_BROKER | OF_UNDERSTANDING | ON_A_BROKER | WITH_THE_WORKERS_STOPPED
    assert {output.command for output in OUTPUTS} == checked


@pytest.mark.parametrize("name", sorted(output_schemas()))
def test_the_schemas_are_schemas_and_describe_every_key(name: str) -> None:
    schema = output_schemas()[name]
    Draft202012Validator.check_schema(schema)
    for node in schema["$defs"].values():
        for key, each in node.get("properties", {}).items():
            assert each["description"].endswith("."), key
        assert "(*" not in node.get("description", "")


def test_a_key_too_many_or_too_few_or_of_another_type_is_found() -> None:
    for wrong in ('{"name": "python"}', '{"name": "x", "version": 1}', '{"name": "x", "version": "1", "more": 1}'):
        with pytest.raises(ValidationError):
            assert_as_documented("version", wrong, "jsonl")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    board = HealthBoard(ManualClock(), engine_loaded=True, joined=True)
    with HealthServer("127.0.0.1", 0, board, CollectorRegistry()) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.mark.parametrize("output", FORMATS)
def test_what_is_printed_without_a_broker_is_as_its_schema_says(output: str, url: str, tmp_path: Path) -> None:
    (tmp_path / "bot.yaml").write_text("bot: shop\nfallback: {reply: {template: Hello}}\n", encoding="utf-8")
    (tmp_path / "stream-worker.yaml").write_text("bots: [{file: bot.yaml}]\n", encoding="utf-8")
    lines = {
        "version": "",
        "config show": "--resolved --sources",
        "config check": "",
        "schemas": "--check --dir .",
        "health": f"--url {url}",
        "doctor": "--only runtime",
        "topics acls": "--for console",
    }
    assert set(lines) == WITHOUT_A_BROKER
    for command, options in lines.items():
        done = run(f"{command} {options} -o {output}", tmp_path)
        assert_as_documented(command, done.stdout, output)


def test_no_findings_are_an_empty_document(tmp_path: Path) -> None:
    assert json.loads(run("schemas --check -o json", ROOT).stdout) == []
    assert run("schemas --check -o jsonl", ROOT).stdout == ""
