"""The contracts as a page: AsyncAPI's content, with this application's own topics. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from stream_worker.contracts.json_schema import CONTRACTS, dead_letter_headers, record_schema
from stream_worker.kafka.topics import TopicSpec, topic_table
from stream_worker.settings import Settings

_MAX_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    type: str
    is_required: bool
    description: str
    depth: int


@dataclass(frozen=True, slots=True)
class Form:
    """One shape of a record; an event has one for each type."""

    name: str
    description: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Channel:
    name: str
    title: str
    topic: TopicSpec
    is_written_by_us: bool
    forms: tuple[Form, ...]
    examples: tuple[str, ...]


def channels(settings: Settings) -> list[Channel]:
    topics = {spec.role.value: spec for spec in topic_table(settings)}
    found = [
        Channel(
            contract.name,
            contract.title,
            topics[contract.topic],
            contract.written_by_us,
            tuple(_forms(record_schema(contract))),
            tuple(_json(example) for example in contract.examples[:2]),
        )
        for contract in CONTRACTS
    ]
    headers = dead_letter_headers()
    letter = Channel(
        "dead_letter",
        headers["title"],
        topics["dead_letters"],
        True,
        tuple(_forms(headers)),
        tuple(_json(example) for example in headers["examples"][:1]),
    )
    return [*found, letter]


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _forms(schema: Mapping[str, Any]) -> Iterator[Form]:
    definitions = schema.get("$defs", {})
    if "properties" in schema:
        yield Form(schema["title"], "", tuple(_fields(schema, definitions, 0)))
        return
    for variant in schema.get("anyOf", schema.get("oneOf", ())):
        name = variant["$ref"].rpartition("/")[2]
        node = definitions[name]
        yield Form(name, node.get("description", ""), tuple(_fields(node, definitions, 0)))


def _fields(node: Mapping[str, Any], definitions: Mapping[str, Any], depth: int) -> Iterator[Field]:
    required = frozenset(node.get("required", ()))
    for name, field in node.get("properties", {}).items():
        yield Field(name, _type(field), name in required, field.get("description", ""), depth)
        below = _below(field, definitions)
        if below is not None and depth + 1 < _MAX_DEPTH:
            yield from _fields(below, definitions, depth + 1)


def _below(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The object that stands in a field, or in each of its items."""
    for node in (field, field.get("items", {}), *field.get("anyOf", ())):
        if (reference := node.get("$ref")) is not None:
            found: Mapping[str, Any] = definitions[reference.rpartition("/")[2]]
            return found if "properties" in found else None
    return None


def _type(field: Mapping[str, Any]) -> str:
    if "const" in field:
        return _literal(field["const"])
    if "enum" in field:
        return " | ".join(map(_literal, field["enum"]))
    if "anyOf" in field or "oneOf" in field:
        return " | ".join(dict.fromkeys(_type(each) for each in field.get("anyOf", field.get("oneOf", ()))))
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if field.get("type") == "array":
        return f"{_type(field.get('items', {}))}[]"
    return str(field.get("type", "any"))


def _literal(value: object) -> str:
    return orjson.dumps(value).decode()
