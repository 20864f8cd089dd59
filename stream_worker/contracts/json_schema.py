"""JSON Schema (2020-12) of every record, made from the dataclasses that the worker uses.

Descriptions are the docstrings under the fields; examples come from
`examples.py`. What a record of ours always carries is required; of an event
only what a platform must send.
"""

import ast
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from textwrap import dedent
from types import UnionType
from typing import Any, get_args, get_type_hints

import orjson
from pydantic import TypeAdapter

from stream_worker.contracts import dead_letter, examples
from stream_worker.contracts.action import Command
from stream_worker.contracts.analysis import Analysis
from stream_worker.contracts.delta import Delta
from stream_worker.contracts.event import Event
from stream_worker.contracts.metric import EventMetric
from stream_worker.contracts.reply import Reply
from stream_worker.outcome import DeadLetterReason

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Contract:
    """One record: its schema's file name and how it is called. `topic` is the field of the topic settings."""

    name: str
    topic: str
    title: str
    type: Any
    examples: Sequence[object]
    written_by_us: bool = True


CONTRACTS = (
    Contract("event", "events", "What happens in a conversation", Event, examples.EVENTS, written_by_us=False),
    Contract("reply", "replies", "The bot's answer", Reply, examples.REPLIES),
    Contract("delta", "deltas", "A preview of a reply", Delta, examples.DELTAS),
    Contract("analysis", "analysis", "How a turn was understood and generated", Analysis, examples.ANALYSES),
    Contract("action", "actions", "A command to the outside world", Command, examples.COMMANDS),
    Contract("metric", "metrics", "How one event ended", EventMetric, examples.METRICS),
)
DEAD_LETTER_HEADERS = "dead_letter_headers"


def schemas() -> dict[str, Schema]:
    """Every schema by its file name without ending."""
    found = {contract.name: record_schema(contract) for contract in CONTRACTS}
    found[DEAD_LETTER_HEADERS] = dead_letter_headers()
    return found


def record_schema(contract: Contract) -> Schema:
    schema = TypeAdapter(contract.type).json_schema(mode="serialization" if contract.written_by_us else "validation")
    described = {type_.__name__: type_ for type_ in dataclasses_in(contract.type)}
    nodes = dict(schema.get("$defs", {}))
    if not isinstance(contract.type, UnionType):
        nodes[contract.type.__name__] = schema
    for name, node in nodes.items():
        if "properties" in node:
            describe_fields(node, described[name], all_required=contract.written_by_us)
    return {
        "$schema": DIALECT,
        **schema,
        "title": contract.title,
        "examples": [orjson.loads(orjson.dumps(example)) for example in contract.examples],
    }


def dead_letter_headers() -> Schema:
    """The headers of a dead letter, as text; key and value are the original's bytes."""
    number = {"type": "string", "pattern": "^[0-9]+$"}
    properties: dict[str, Schema] = {
        dead_letter.REASON: {"enum": [reason.value for reason in DeadLetterReason], "description": "Why."},
        dead_letter.MESSAGE: {"type": "string", "description": "What is wrong; nothing of the content."},
        dead_letter.TOPIC: {"type": "string", "description": "Topic of the original."},
        dead_letter.PARTITION: {**number, "description": "Partition of the original."},
        dead_letter.OFFSET: {**number, "description": "Offset of the original."},
        dead_letter.TIMESTAMP: {**number, "description": "Timestamp of the original, ms since the epoch, UTC."},
        dead_letter.WORKER: {"type": "string", "description": "Version of stream_worker."},
        dead_letter.SETTINGS: {"type": "string", "description": "Short hash of the settings."},
        dead_letter.BOT: {"type": "string", "description": "Name of the bot; empty where none had a part in it."},
        dead_letter.BOT_VERSION: {"type": "string", "description": "Version of the bot file."},
        dead_letter.MODEL: {"type": "string", "description": "Name of the language model."},
        dead_letter.TRUNCATED: {"const": "1", "description": "There when the original did not fit."},
    }
    return {
        "$schema": DIALECT,
        "title": "Why an event could not be answered",
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name != dead_letter.TRUNCATED],
        "examples": [dict(example) for example in examples.DEAD_LETTERS],
    }


def describe_fields(node: Schema, type_: type, *, all_required: bool) -> None:
    """Completes an object's schema: descriptions are the docstrings under the fields of its dataclass.

    What came `later` is not required: readers of this version meet records that were written without it.
    """
    descriptions = field_descriptions(type_)
    for field, property_ in node["properties"].items():
        property_.pop("title", None)
        property_["description"] = descriptions[field]
    if all_required:
        came_later = {each.name for each in fields(type_) if each.metadata.get("later")}
        node["required"] = [name for name in node["properties"] if name not in came_later]


def field_descriptions(type_: type) -> Mapping[str, str]:
    """The docstring under each field, inherited fields included."""
    found: dict[str, str] = {}
    for parent in reversed(type_.__mro__[:-1]):
        body = ast.parse(dedent(inspect.getsource(parent))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = text
    return found


def dataclasses_in(annotation: Any) -> Iterator[type]:
    """Every dataclass that an annotation reaches."""
    if isinstance(annotation, type) and is_dataclass(annotation):
        yield annotation
        for hint in get_type_hints(annotation).values():
            yield from dataclasses_in(hint)
    for argument in get_args(annotation):
        yield from dataclasses_in(argument)
