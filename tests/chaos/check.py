"""The checker: reads everything a run left in its topics, and recomputes what must be there.

    python -m tests.chaos.check BOOTSTRAP_SERVERS SETTINGS.json

A program of its own: it knows nothing of what was done to the run. It ends with 0 and a line of figures, or with 1
and what is wrong.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from stream_worker.kafka.client_settings import restore_settings
from stream_worker.settings import Settings
from tests import checker
from tests.chaos.replay import replies_follow_from_what_was_committed
from tests.kafka.topic_reader import TopicReader


def main() -> None:
    servers, file = sys.argv[1:]
    tree = orjson.loads(Path(file).read_bytes())
    settings = Settings.model_validate(tree | {"kafka": tree["kafka"] | {"bootstrap_servers": servers}})
    try:
        figures = check(settings)
    except AssertionError as violation:
        print(f"VIOLATION: {violation}")
        sys.exit(1)
    print(orjson.dumps(figures).decode())


def check(settings: Settings) -> dict[str, Any]:
    """Raises AssertionError with the first violation found; otherwise what the run came to."""
    events = _read_events(settings)
    by_id = {event["message_id"]: event for _, event in events}
    sent = [event["message_id"] for _, event in events]
    outputs = TopicReader(settings)
    metrics, replies, commands, changelog = outputs.metrics, outputs.replies, outputs.commands, outputs.changelog
    places = {f"{place[0]}/{place[1]}" for place, _ in events}
    settled = Counter(f"{metric['partition']}/{metric['offset']}" for metric in metrics)
    checker.each_event_has_one_outcome(sent, metrics)
    assert settled.keys() == places, f"settled where there is no event: {sorted(settled.keys() - places)[:5]}"
    checker.no_event_is_answered_twice(replies)
    checker.replies_are_in_order(sent, replies)
    checker.ledgers_never_go_back(changelog)
    checker.each_reply_has_its_command(replies, commands)
    replies_follow_from_what_was_committed(by_id, replies, checker.last_states(changelog))
    complete = checker.previews_add_up_where_complete(replies, outputs.deltas)
    outputs.close()
    return {
        "events": len(events),
        "outcomes": dict(Counter(metric["outcome"] for metric in metrics)),
        "dead_letters": dict(Counter(metric["reason"] for metric in metrics if metric["reason"])),
        "replies": len(replies),
        "previews_complete": complete,
        "highest_term": max(ledger.term for ledger in checker.ledgers(changelog)),
    }


def _read_events(settings: Settings) -> list[tuple[tuple[int, int], dict[str, Any]]]:
    """Every event with its partition and offset, in the order of its partition."""
    topic = settings.topics.events
    consumer = Consumer(restore_settings(settings) | {"enable.partition.eof": False})
    places = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(settings.topics.partitions)]
    consumer.assign(places)
    ends = {place.partition: consumer.get_watermark_offsets(place, 10.0)[1] for place in places}
    found: list[tuple[tuple[int, int], dict[str, Any]]] = []
    reached = dict.fromkeys(ends, 0)
    while any(reached[partition] < end for partition, end in ends.items()):
        for message in consumer.consume(10_000, 0.5):
            partition, offset = message.partition(), message.offset()
            assert message.error() is None, message.error()
            assert partition is not None
            assert offset is not None
            found.append(((partition, offset), orjson.loads(message.value() or b"null")))
        for place in consumer.position(list(places)):
            reached[place.partition] = max(reached[place.partition], place.offset)
    consumer.close()
    return sorted(found, key=lambda each: each[0])


if __name__ == "__main__":
    main()
