"""Records of every version so far load, and no bytes whatever end a worker by surprise.

`tests/data/v1` holds what version 0.1 wrote, byte for byte; files there are added to, never changed.
"""

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from jsonschema import Draft202012Validator, ValidationError

from stream_worker.contracts.decode import Arrival, DecodeRules, Undecodable, decode
from stream_worker.contracts.internal import LEDGER_FORMAT, LedgerRecord, load_ledger
from stream_worker.conversation.dialogue import Dialogue, Frame, Question, QuestionKind
from stream_worker.conversation.state import (
    STATE_FORMAT,
    Bounds,
    ConversationState,
    Holder,
    Line,
    Rewritten,
    Said,
    Speaker,
    apply,
    fit,
    load_state,
)
from stream_worker.errors import Fatal, PartitionRefused, StateUnreadable
from stream_worker.record import Record
from stream_worker.tokens import StoredPrompt
from tests.mutations import broken

_DATA = Path(__file__).parents[1] / "data"
_SCHEMAS = Path(__file__).parents[2] / "schemas"
_STATES = ("state-1.json", "v1/state-2.json")
_STATE_2 = (_DATA / "v1" / "state-2.json").read_bytes()
_STATE_1 = (_DATA / "state-1.json").read_bytes()
_LEDGER = (_DATA / "v1" / "ledger-1.json").read_bytes()
_EVENTS = (_DATA / "v1" / "events.jsonl").read_bytes().splitlines()


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


def test_a_state_of_this_version_loads_whole() -> None:
    assert load_state(_STATE_2) == ConversationState(
        history=(
            Line(Speaker.USER, "What's the weather in Beijing?", "m-1", 1_700_000_000_000, "Ada"),
            Line(Speaker.BOT, "Sunny.", "r-1", 1_700_000_001_000),
            Line(Speaker.AGENT, "I can help.", "m-2", 1_700_000_002_000, "Bo"),
        ),
        dialogues={
            "u-7": Dialogue(
                frames=(Frame("greet"), Frame("weather", {"location": "Beijing"})),
                question=Question(kind=QuestionKind.SLOT, intent="weather", slot="date", options=("today", "tomorrow")),
                recent=(("location", "Beijing"),),
                offers={"date": ("today", "tomorrow")},
                proposed=True,
                fallbacks=1,
                complaints=2,
                language="en",
                at=1_700_000_001_000,
            )
        },
        holder=Holder.HUMAN,
        held_at=1_700_000_002_000,
        turns=1,
        prompt=StoredPrompt(hash="h", ids=(1, 2, 3), covers=2),
        remembered="0123456789abcdef ",
    )


@pytest.mark.parametrize("kept", ["held_at", "prompt", "dialogues", "remembered"])
def test_a_state_that_a_later_version_reads_otherwise_is_noticed(kept: str) -> None:
    """As if that version had another name for the field."""
    renamed = orjson.loads(_STATE_2)
    renamed[f"new_{kept}"] = renamed.pop(kept)
    with pytest.raises(StateUnreadable):
        load_state(orjson.dumps(renamed))


def test_the_format_that_is_written_has_a_record_here() -> None:
    """A new format needs one of its own, and the ones before it stay."""
    assert [load_state((_DATA / name).read_bytes()).format for name in _STATES] == [STATE_FORMAT] * len(_STATES)
    assert [orjson.loads((_DATA / name).read_bytes())["format"] for name in _STATES] == [*range(1, STATE_FORMAT + 1)]
    assert orjson.loads((_DATA / "v1" / "ledger-1.json").read_bytes())["format"] == LEDGER_FORMAT


@pytest.mark.parametrize("name", ["reply", "delta", "analysis", "action", "metric", "dead_letter_headers"])
def test_what_this_version_publishes_is_valid_by_the_schema(name: str) -> None:
    """Of any later version: its readers take what lies in the topics."""
    validator = Draft202012Validator(orjson.loads((_SCHEMAS / f"{name}.json").read_bytes()))
    lines = (_DATA / "v1" / f"{name}.jsonl").read_bytes().splitlines()
    assert lines
    for line in lines:
        validator.validate(orjson.loads(line))
        if name != "dead_letter_headers":
            with pytest.raises(ValidationError):
                validator.validate({})


@pytest.mark.parametrize("raw", _EVENTS)
def test_an_event_of_this_version_is_decoded(raw: bytes) -> None:
    event = orjson.loads(raw)
    key = "/".join(filter(None, (event.get("tenant"), event["conversation_id"])))
    rules = DecodeRules(tenants="tenant" in event)
    found = decode(Record("chat.events", 0, 1, 1, key.encode(), raw, ()), rules)
    assert isinstance(found, Arrival), found.detail if isinstance(found, Undecodable) else found


@pytest.mark.fuzz
@given(broken(_LEDGER))
def test_no_bytes_of_a_ledger_are_a_surprise(raw: bytes) -> None:
    try:
        ledger = load_ledger(raw, 3)
    except (PartitionRefused, Fatal):
        return
    assert load_ledger(ledger.dump(), 3) == ledger


@pytest.mark.fuzz
@given(broken(_STATE_1, _STATE_2))
def test_no_bytes_of_a_state_are_a_surprise(raw: bytes) -> None:
    try:
        state: ConversationState = load_state(raw)
    except (StateUnreadable, Fatal):
        return
    assert load_state(state.dump()) == state
    changed = apply(
        state,
        [Said((Line(Speaker.USER, "hello", "m-9", 1),)), Rewritten("m-1", "hi")],
        Bounds(max_messages=9, dedup_window=9),
    )
    assert load_state(fit(changed, 300).dump()).remembered == state.remembered


@pytest.mark.fuzz
@given(broken(*_EVENTS))
def test_no_bytes_of_an_event_are_a_surprise(raw: bytes) -> None:
    found = decode(Record("chat.events", 0, 1, 1, b"c-42", raw, ()), DecodeRules())
    assert isinstance(found, Arrival | Undecodable)
    if isinstance(found, Arrival):
        orjson.dumps(found.event)
