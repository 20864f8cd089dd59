"""What a command printed, against its published schema; a key that the schema lacks is a fault, too."""

import json
from copy import deepcopy
from typing import Any

from jsonschema import Draft202012Validator

from stream_worker.cli.outputs.catalogue import OUTPUTS, output_schema

FORMATS = ("json", "jsonl")

#: Where each command's real output is checked; together they are all that the catalogue has.
WITHOUT_A_BROKER = {"version", "config show", "config check", "schemas", "health", "doctor", "topics acls"}
OF_UNDERSTANDING = {"nlu parse", "nlu explain", "nlu evaluate", "nlu validate"}
ON_A_BROKER = {
    "conversation explain",
    "conversation show",
    "dlq drop",
    "dlq list",
    "dlq redrive",
    "dlq show",
    "lag",
    "send",
    "status",
    "tail",
    "topics check",
    "topics create",
}
WITH_THE_WORKERS_STOPPED = {"topics repartition"}


def assert_as_documented(command: str, printed: str, output: str) -> list[Any]:
    """Returns what was printed: the document, or every line; at least one."""
    (found,) = (each for each in OUTPUTS if each.command == command)
    schema = _closed(output_schema(found))
    if output == "json":
        values, validator = [json.loads(printed)], Draft202012Validator(schema)
    else:
        values = [json.loads(line) for line in printed.splitlines()]
        validator = Draft202012Validator({**schema, "$ref": "#/$defs/line"})
    assert values, f"{command} -o {output} printed nothing"
    for value in values:
        validator.validate(value)
    return values


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    closed = deepcopy(schema)
    for node in closed["$defs"].values():
        if "properties" in node:
            node["additionalProperties"] = False
    return closed
