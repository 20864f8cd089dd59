"""`asyncapi.yaml` (AsyncAPI 3.0): the topics, who writes them, and which record stands in each.

Says what the topic table says (partitions, clean-up, retention), with the
default settings; the schemas are the files beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

from stream_worker.contracts.json_schema import CONTRACTS, DEAD_LETTER_HEADERS, Contract

_BINDING = "0.5.0"
_JSON = "application/json"
# What AsyncAPI's tools read. The schemas use only words that mean the same in it and in their own dialect.
_SCHEMA_FORMAT = "application/schema+json;version=draft-07"

_KEY = {"type": "string", "description": "The conversation: `<tenant>/<conversation_id>`, or its id without tenants."}

#: CloudEvents 1.0, binary mode. Always there on what we write; on events all are optional.
_HEADERS: Mapping[str, str] = {
    "ce_specversion": "1.0",
    "ce_id": "Names the record; on an event also what duplicates are recognised by.",
    "ce_type": "What the record is.",
    "ce_source": "Who wrote it.",
    "ce_time": "When, RFC 3339.",
    "content-type": _JSON,
    "traceparent": "W3C trace context of the event, carried through to all that comes of it.",
    "tracestate": "W3C trace context.",
}
_TRACE = ("traceparent", "tracestate")


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the document shows it."""

    name: str
    partitions: int
    replicas: int
    config: Mapping[str, str]


def asyncapi(version: str, topics: Mapping[str, Topic]) -> str:
    """The document; `topics` by the names of the topic settings."""
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "stream_worker",
            "version": version,
            "description": "Chat events in, replies out, exactly once. Read the outputs with `read_committed`.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": _JSON,
        "channels": {
            **{
                contract.topic: _channel(topics[contract.topic], contract.title, contract.name)
                for contract in CONTRACTS
            },
            "dead_letters": _channel(topics["dead_letters"], "Events that could not be answered", "dead_letter"),
        },
        "operations": {
            **{contract.topic: _operation(contract) for contract in CONTRACTS},
            "dead_letters": {"action": "send", "channel": {"$ref": "#/channels/dead_letters"}},
        },
        "components": {
            "messages": {**{contract.name: _message(contract) for contract in CONTRACTS}, "dead_letter": _dead_letter()}
        },
    }
    text = StringIO()
    yaml = YAML()
    yaml.width = 120
    yaml.dump(document, text)
    return text.getvalue()


def _channel(topic: Topic, title: str, message: str) -> dict[str, Any]:
    configuration: dict[str, Any] = {"cleanup.policy": topic.config["cleanup.policy"].split(",")}
    for name in ("retention.ms", "max.message.bytes"):
        configuration[name] = int(topic.config[name])
    return {
        "address": topic.name,
        "title": title,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "replicas": topic.replicas,
                "topicConfiguration": configuration,
                "bindingVersion": _BINDING,
            }
        },
    }


def _operation(contract: Contract) -> dict[str, Any]:
    return {
        "action": "send" if contract.written_by_us else "receive",
        "channel": {"$ref": f"#/channels/{contract.topic}"},
        "bindings": {"kafka": {"bindingVersion": _BINDING}},
    }


def _message(contract: Contract) -> dict[str, Any]:
    required = [name for name in _HEADERS if name not in _TRACE] if contract.written_by_us else []
    headers: dict[str, Any] = {
        "type": "object",
        "properties": {name: {"type": "string", "description": text} for name, text in _HEADERS.items()},
    }
    if required:
        headers["required"] = required
    return {
        "name": contract.name,
        "title": contract.title,
        "contentType": _JSON,
        "headers": headers,
        "payload": {"schemaFormat": _SCHEMA_FORMAT, "schema": {"$ref": f"./{contract.name}.json"}},
        "bindings": {"kafka": {"key": dict(_KEY), "bindingVersion": _BINDING}},
    }


def _dead_letter() -> dict[str, Any]:
    return {
        "name": "dead_letter",
        "title": "An event that could not be answered, as it came",
        "contentType": "application/octet-stream",
        "headers": {"schemaFormat": _SCHEMA_FORMAT, "schema": {"$ref": f"./{DEAD_LETTER_HEADERS}.json"}},
        "bindings": {
            "kafka": {"key": {"type": "string", "description": "The original's key."}, "bindingVersion": _BINDING}
        },
    }
