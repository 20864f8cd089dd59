"""The schemas say what the records are: examples and generated records are valid, and a break is found."""

import copy
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from ruamel.yaml import YAML

from stream_worker.cli.schemas import generate
from stream_worker.contracts.compatibility import breaking_changes
from stream_worker.contracts.dead_letter import dead_letter
from stream_worker.contracts.json_schema import CONTRACTS, DEAD_LETTER_HEADERS, schemas
from stream_worker.contracts.versions import Versions
from stream_worker.outcome import DeadLetterReason
from stream_worker.record import Record
from stream_worker.settings import Settings

SCHEMAS = schemas()
ACCEPTED = frozenset({"event"})


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(SCHEMAS[name])


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_is_valid_and_so_are_its_examples(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    examples = SCHEMAS[name]["examples"]
    assert len(examples) >= 2
    for example in examples:
        validator(name).validate(example)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_means_the_same_in_the_draft_that_asyncapi_names(name: str) -> None:
    words = {word for node in nodes(SCHEMAS[name]) for word in node}
    newer = {"prefixItems", "unevaluatedProperties", "unevaluatedItems", "dependentRequired", "dependentSchemas"}
    assert not words & (newer | {"minContains", "maxContains", "$dynamicRef", "$anchor"})
    old = Draft7Validator({key: value for key, value in SCHEMAS[name].items() if key != "$schema"})
    for example in SCHEMAS[name]["examples"]:
        old.validate(example)


def nodes(value: object) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_field_is_described(name: str) -> None:
    nodes = [SCHEMAS[name], *SCHEMAS[name].get("$defs", {}).values()]
    for node in nodes:
        for field, schema in node.get("properties", {}).items():
            assert schema["description"].endswith("."), field


@pytest.mark.parametrize(
    "wrong",
    [
        {"conversation_id": "c", "sender": {"id": "u"}},
        {"conversation_id": "c", "sender": {"id": "u"}, "text": "x", "content": []},
        {"conversation_id": "", "sender": {"id": "u"}, "text": "x"},
        {"conversation_id": "c", "text": "x"},
        {"conversation_id": "c", "type": "presence"},
        {"conversation_id": "c", "type": "feedback", "reply_id": "r", "score": 2},
    ],
)
def test_the_schema_of_events_refuses_what_the_worker_refuses(wrong: dict[str, object]) -> None:
    assert not validator("event").is_valid(wrong)


def test_the_headers_of_a_dead_letter_are_valid() -> None:
    record = Record("chat.events", 1, 2, 3, b"k", b"v" * 200_000, ())
    versions = Versions(worker="0.1.0", settings="s", bot="b", bot_version="1", model="m")
    for max_bytes in (1_000_000, 100_000):
        letter = dead_letter(
            record, DeadLetterReason.TOO_LARGE, "too large", topic="d", versions=versions, max_bytes=max_bytes
        )
        headers = {name: (value or b"").decode() for name, value in letter.headers}
        validator(DEAD_LETTER_HEADERS).validate(headers)
        assert ("sw_truncated" in headers) == (max_bytes == 100_000)


def test_the_settings_schema_is_valid_and_knows_the_defaults() -> None:
    schema = Settings.model_json_schema()
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(Settings().model_dump(mode="json"))


def test_asyncapi_names_every_topic_with_its_record() -> None:
    document: Any = YAML(typ="safe", pure=True).load(generate()["asyncapi.yaml"])
    topics = Settings().topics
    assert {channel["address"] for channel in document["channels"].values()} == {
        getattr(topics, name) for name in (*(contract.topic for contract in CONTRACTS), "dead_letters")
    }
    actions = {name: operation["action"] for name, operation in document["operations"].items()}
    assert [name for name, action in actions.items() if action == "receive"] == ["events"]
    for channel in document["channels"].values():
        kafka = channel["bindings"]["kafka"]
        assert kafka["partitions"] > 0
        assert kafka["topicConfiguration"]["cleanup.policy"] == ["delete"]
        for message in channel["messages"].values():
            body = document["components"]["messages"][message["$ref"].rpartition("/")[2]]
            assert body["bindings"]["kafka"]["key"]["type"] == "string"


#: AsyncAPI's own schema of its 3.0.0 documents, from the npm package `@asyncapi/specs` 6.11.1 (Apache-2.0), compressed.
ASYNCAPI = Path(__file__).parents[2] / "data" / "asyncapi-3.0.0.schema.json.gz"


def test_asyncapi_is_valid_by_the_schema_of_asyncapi() -> None:
    validator = Draft7Validator(json.loads(gzip.decompress(ASYNCAPI.read_bytes())))
    document: Any = YAML(typ="safe", pure=True).load(generate()["asyncapi.yaml"])
    validator.validate(document)
    document["channels"]["replies"]["adress"] = "misspelt"
    assert not validator.is_valid(document)


def test_the_same_schemas_break_nothing() -> None:
    assert breaking_changes(SCHEMAS, SCHEMAS, ACCEPTED) == []


def changed(name: str) -> tuple[dict[str, Any], Any]:
    new = copy.deepcopy(SCHEMAS)
    return new, new[name]


def test_a_property_of_ours_that_is_gone_breaks() -> None:
    new, reply = changed("reply")
    del reply["properties"]["text"]
    assert breaking_changes(SCHEMAS, new, ACCEPTED) == ["reply.text: is gone"]


def test_a_property_of_ours_that_may_be_missing_or_null_breaks() -> None:
    new, reply = changed("reply")
    reply["required"].remove("text")
    reply["properties"]["channel"] = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert breaking_changes(SCHEMAS, new, ACCEPTED) == [
        "reply.channel: may now be null",
        "reply.text: may now be left out",
    ]


def test_a_nested_change_of_type_breaks() -> None:
    new, metric = changed("metric")
    metric["$defs"]["Versions"]["properties"]["bot"]["type"] = "integer"
    assert breaking_changes(SCHEMAS, new, ACCEPTED) == ["metric.versions.bot: may now be integer"]


def test_asking_more_of_events_breaks() -> None:
    new, event = changed("event")
    message = event["$defs"]["Message"]
    message["required"].append("locale")
    message["properties"]["conversation_id"]["maxLength"] = 10
    event["$defs"]["SenderRole"]["enum"].remove("system")
    found = breaking_changes(SCHEMAS, new, ACCEPTED)
    assert "event<Message>.locale: is now required" in found
    assert "event<Message>.conversation_id: its limits are tighter" in found
    assert "event<Message>.sender.role: no longer takes every value it took" in found


@pytest.mark.parametrize(
    ("definition", "path", "value", "breaks"),
    [
        ("Message", ("properties", "message_id", "anyOf", 0, "maxLength"), 10, "message_id: its limits are tighter"),
        ("Message", ("properties", "sent_at", "anyOf", 0, "maximum"), 10, "sent_at: its limits are tighter"),
        ("Message", ("properties", "content", "anyOf", 0, "items"), {"$ref": "#/$defs/TextPart"}, "<MediaPart>: is"),
        ("Message", ("oneOf",), [{"required": ["content"]}], "no longer takes every form it took"),
        ("MediaPart", ("required",), ["type", "uri", "media_type", "name"], "name: is now required"),
        ("MediaPart", ("properties", "bytes", "anyOf", 0, "maximum"), 5, "bytes: its limits are tighter"),
    ],
)
def test_asking_more_of_what_may_be_left_out_breaks(
    definition: str, path: tuple[str | int, ...], value: object, breaks: str
) -> None:
    new, event = changed("event")
    node = event["$defs"][definition]
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    assert any(breaks in change for change in breaking_changes(SCHEMAS, new, ACCEPTED))


def test_another_version_of_a_record_of_ours_breaks() -> None:
    new, reply = changed("reply")
    reply["properties"]["version"]["const"] = 2
    assert breaking_changes(SCHEMAS, new, ACCEPTED) == ["reply.version: has another constant"]


def test_an_event_type_or_a_record_that_is_gone_breaks() -> None:
    new, event = changed("event")
    event["anyOf"] = [each for each in event["anyOf"] if each["$ref"] != "#/$defs/Feedback"]
    del new["delta"]
    assert breaking_changes(SCHEMAS, new, ACCEPTED) == ["delta: the record is gone", "event<Feedback>: is gone"]


def test_additions_break_nothing() -> None:
    new, reply = changed("reply")
    reply["properties"]["mood"] = {"type": "string"}
    reply["required"].append("mood")
    reply["$defs"]["FinishReason"]["enum"].append("bored")
    new["event"]["$defs"]["Message"]["properties"]["mood"] = {"type": "string"}
    new["event"]["$defs"]["SenderRole"]["enum"].append("guest")
    new["new"] = {}
    assert breaking_changes(SCHEMAS, new, ACCEPTED) == []
