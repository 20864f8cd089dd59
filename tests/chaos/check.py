"""The checker: reads everything a run left in its topics, and recomputes what must be there.

    python -m tests.chaos.check BOOTSTRAP_SERVERS SETTINGS.json

A program of its own: it knows nothing of what was done to the run. It ends with 0 and a line of figures, or with 1
and what is wrong.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Message

from stream_worker.kafka.topic_admin import connect, describe
from stream_worker.kafka.topics import Role
from stream_worker.settings import Settings
from tests.chaos.gaps import gaps
from tests.chaos.switches import CRASHING, HANGING
from tests.chaos.understanding import chaos_bot, understood
from tests.delivery import Delivery
from tests.kafka.topic_log import TopicLog, buried_place, place_of
from tests.replay import Place, Replay

_A_DAY_MS = 86_400_000
#: What is kept of each record: a long run has millions of them.
_METRIC = ("event_id", "conversation_id", "partition", "offset", "term", "outcome", "reason", "turn_id")
_REPLY = (
    *("reply_id", "turn_id", "conversation_id", "in_reply_to", "text"),
    *("finish_reason", "term", "attempt", "truncated"),
)
_COMMAND = ("command_id", "turn_id")
_DELTA = ("turn_id", "term", "attempt", "seq", "text", "state")


def main() -> None:
    servers, file = sys.argv[1:]
    tree = orjson.loads(Path(file).read_bytes())
    settings = Settings.model_validate(tree | {"kafka": tree["kafka"] | {"bootstrap_servers": servers}})
    try:
        figures = check(settings, Path(file).parent)
    except AssertionError as violation:
        print(f"VIOLATION: {violation}")
        sys.exit(1)
    print(orjson.dumps(figures).decode())


def check(settings: Settings, folder: Path) -> dict[str, Any]:
    """Raises AssertionError with the violations found; otherwise what the run came to."""
    window = settings.conversation.dedup_window
    replay = Replay(bot=chaos_bot(folder), dedup_window=window, understand=understood)
    figures = _delivery(settings).check(replay)
    arrived = TopicLog(settings, Role.EVENTS, lambda message: (place_of(message), message.timestamp()[1]))
    silences = gaps(dict(arrived), dict(TopicLog(settings, Role.METRICS, _settled_at)))
    return figures | {"gaps": [list(each) for each in silences]}


def _delivery(settings: Settings) -> Delivery:
    def values(role: Role, keys: Sequence[str]) -> TopicLog[dict[str, Any]]:
        return TopicLog(settings, role, partial(_chosen, keys))

    events = TopicLog(settings, Role.EVENTS, lambda each: (place_of(each), orjson.loads(each.value() or b"")))
    return Delivery(
        events=dict(sorted(events)),
        metrics=list(values(Role.METRICS, _METRIC)),
        replies=list(values(Role.REPLIES, _REPLY)),
        commands=list(values(Role.ACTIONS, _COMMAND)),
        deltas=values(Role.DELTAS, _DELTA),
        buried=list(TopicLog(settings, Role.DEAD_LETTERS, buried_place)),
        changelog=TopicLog(settings, Role.CHANGELOG, lambda each: (each.key() or b"", each.value())),
        poison=(CRASHING, HANGING),
        is_whole=_is_whole(settings),
    )


def _chosen(keys: Sequence[str], message: Message) -> dict[str, Any]:
    value = orjson.loads(message.value() or b"")
    return {key: value[key] for key in keys}


def _settled_at(message: Message) -> tuple[Place, int]:
    """Which event it was, and when its outcome was written, in milliseconds since the epoch."""
    metric = orjson.loads(message.value() or b"")
    return (metric["partition"], metric["offset"]), message.timestamp()[1]


def _is_whole(settings: Settings) -> bool:
    """Whether no segment of the changelog was old enough to be compacted."""
    facts = describe(connect(settings), [settings.changelog])[settings.changelog]
    return facts.number("segment.ms") >= _A_DAY_MS


if __name__ == "__main__":
    main()
