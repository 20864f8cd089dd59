"""Records of every version so far load, and no bytes whatever end a worker by surprise.

`tests/data/v1` holds what version 0.1 wrote, byte for byte; files there are added to, never changed.
"""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stream_worker.contracts.decode import Arrival, DecodeRules, Undecodable, decode
from stream_worker.contracts.internal import LedgerRecord, load_ledger
from stream_worker.conversation.state import ConversationState, load_state
from stream_worker.errors import Fatal, PartitionRefused, StateUnreadable
from stream_worker.record import Record

_DATA = Path(__file__).parents[1] / "data"
_STATE = orjson.loads((_DATA / "state-1.json").read_bytes())
_LEDGER = orjson.loads((_DATA / "v1" / "ledger-1.json").read_bytes())
_EVENTS = (_DATA / "v1" / "events.jsonl").read_bytes().splitlines()

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def _damaged(draw: st.DrawFn, honest: dict[str, Any]) -> bytes:
    """A record of ours with some of its fields, at any depth, replaced by anything or left out."""

    def change(value: Any) -> Any:
        if draw(st.integers(0, 9)) == 0:
            return draw(_JSON)
        if isinstance(value, dict):
            return {key: change(inner) for key, inner in value.items() if draw(st.integers(0, 19))}
        if isinstance(value, list):
            return [change(inner) for inner in value]
        return value

    return orjson.dumps(change(honest))


def test_a_ledger_of_this_version_loads() -> None:
    assert load_ledger((_DATA / "v1" / "ledger-1.json").read_bytes(), 3) == LedgerRecord(
        topic_id="hF3kq0",
        partition=3,
        partitions=8,
        term=4,
        next=120,
        open=(117, 119),
        released=False,
        starts=2,
        careful_to=140,
        suspect=117,
    )


@pytest.mark.parametrize("raw", _EVENTS)
def test_an_event_of_this_version_is_decoded(raw: bytes) -> None:
    event = orjson.loads(raw)
    key = "/".join(filter(None, (event.get("tenant"), event["conversation_id"])))
    rules = DecodeRules(tenants="tenant" in event)
    found = decode(Record("chat.events", 0, 1, 1, key.encode(), raw, ()), rules)
    assert isinstance(found, Arrival), found.detail if isinstance(found, Undecodable) else found


@given(st.binary(max_size=80) | _damaged(_LEDGER))
@hypothesis_settings(max_examples=300)
def test_no_bytes_of_a_ledger_are_a_surprise(raw: bytes) -> None:
    try:
        ledger = load_ledger(raw, 3)
    except (PartitionRefused, Fatal):
        return
    assert load_ledger(ledger.dump(), 3) == ledger


@given(st.binary(max_size=80) | _damaged(_STATE) | _damaged(orjson.loads(load_state(orjson.dumps(_STATE)).dump())))
@hypothesis_settings(max_examples=300)
def test_no_bytes_of_a_state_are_a_surprise(raw: bytes) -> None:
    try:
        state: ConversationState = load_state(raw)
    except (StateUnreadable, Fatal):
        return
    assert load_state(state.dump()) == state


@given(st.binary(max_size=200) | st.sampled_from(_EVENTS).flatmap(lambda raw: _damaged(orjson.loads(raw))))
@hypothesis_settings(max_examples=300)
def test_no_bytes_of_an_event_are_a_surprise(raw: bytes) -> None:
    found = decode(Record("chat.events", 0, 1, 1, b"c-42", raw, ()), DecodeRules())
    assert isinstance(found, Arrival | Undecodable)
