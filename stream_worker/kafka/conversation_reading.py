"""Gathers what Kafka knows of one conversation."""

import time
from typing import Any

import orjson

from stream_worker.contracts.internal import ledger_key, load_ledger, state_key
from stream_worker.conversation.state import load_state
from stream_worker.conversation_view import ConversationView, Unsettled, is_open, records_before
from stream_worker.kafka.group_admin import describe_group
from stream_worker.kafka.murmur2 import partition_of
from stream_worker.kafka.reading import ends, records
from stream_worker.kafka.topic_admin import connect
from stream_worker.kafka.topic_lookup import partitions_of
from stream_worker.settings import Settings


def view_conversation(settings: Settings, key: str) -> ConversationView:
    """Raises Missing when no broker answers, Fatal without the rights, StateUnreadable for a state that is none."""
    admin = connect(settings)
    topic, changelog = settings.topics.events, settings.changelog
    partition = partition_of(key.encode(), len(partitions_of(admin, topic)))
    status = describe_group(admin, settings).partitions[partition]
    state, ledger = None, None
    for record in records(settings, changelog, ends(admin, changelog, [partition])):
        if record.key == state_key(key):
            state = load_state(record.value) if record.value is not None else None
        elif record.key == ledger_key(partition) and record.value is not None:
            ledger = load_ledger(record.value, partition)
    start, end = ends(admin, topic, [partition])[partition]
    first = max(start, status.committed if status.committed is not None else end)
    mine = [
        Unsettled(offset=record.offset, event_id=_event_id(record.value), written_ms=record.timestamp_ms)
        for record in records(settings, topic, {partition: (first, end)})
        if record.key == key.encode() and is_open(record.offset, first, ledger)
    ]
    return ConversationView(
        conversation=key,
        partition=partition,
        owner=status.owner,
        state=state,
        ledger=ledger,
        unsettled=tuple(mine),
        records_before=records_before(mine[0].offset, first, ledger) if mine else 0,
        now_ms=int(time.time() * 1000),
    )


def turns_of(settings: Settings, key: str, last: int, look_back: int) -> list[dict[str, Any]]:
    """The last turns of a conversation, oldest first, by the analysis and metrics topics."""
    metrics = {
        fields["turn_id"]: fields
        for fields in _of(settings, settings.output_topic(settings.topics.metrics), key, look_back)
        if fields.get("outcome") == "replied"
    }
    analyses = _of(settings, settings.output_topic(settings.topics.analysis), key, look_back)
    return [_turn(analysis, metrics.get(analysis["turn_id"], {})) for analysis in analyses[-last:]]


def _turn(analysis: dict[str, Any], metric: dict[str, Any]) -> dict[str, Any]:
    tokens = metric.get("tokens") or {}
    return {
        "at": analysis["at"],
        "turn_id": analysis["turn_id"],
        "intent": analysis["intent"],
        "decision": analysis["decision"],
        "attempt": analysis["attempt"],
        "prompt": tokens.get("prompt"),
        "cached": tokens.get("cached"),
        "generated": tokens.get("generated"),
        "seconds": (metric.get("timings") or {}).get("total"),
        "timings": metric.get("timings"),
        "intents": analysis["intents"],
        "slots": analysis["slots"],
        "generation": analysis["generation"],
        "versions": analysis["versions"],
    }


def _of(settings: Settings, topic: str, key: str, look_back: int) -> list[dict[str, Any]]:
    admin = connect(settings)
    partition = partition_of(key.encode(), len(partitions_of(admin, topic)))
    start, end = ends(admin, topic, [partition])[partition]
    found = records(settings, topic, {partition: (max(start, end - look_back), end)})
    return [orjson.loads(record.value) for record in found if record.key == key.encode() and record.value]


def _event_id(value: bytes | None) -> str:
    """As the event names itself; its text is not looked at."""
    try:
        return str(orjson.loads(value or b"")["message_id"])
    except (ValueError, KeyError, TypeError):
        return "an event without an id"
