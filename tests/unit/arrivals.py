"""Events for tests, as if they had been read."""

from typing import Any

import orjson

from stream_worker.contracts.decode import Arrival, DecodeRules, Undecodable, decode
from stream_worker.record import Headers, Record

_RULES = DecodeRules()


def record(offset: int, value: object, *, key: str = "c-1", partition: int = 0, headers: Headers = ()) -> Record:
    return Record(
        "chat.events", partition, offset, 1_700_000_000_000 + offset, key.encode(), orjson.dumps(value), headers
    )


def message(offset: int, text: str = "hello", *, conversation: str = "c-1", **fields: Any) -> Arrival:
    return arrival(offset, conversation=conversation, sender={"id": "u-1"}, text=text, **fields)


def arrival(offset: int, *, conversation: str = "c-1", headers: Headers = (), **fields: Any) -> Arrival:
    value = {"conversation_id": conversation, "message_id": f"m-{offset}", **fields}
    found = decode(record(offset, value, key=conversation, headers=headers), _RULES)
    assert not isinstance(found, Undecodable), found.detail
    return found
