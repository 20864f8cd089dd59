"""The whole check of a run finds each violation, in a good history in which by hand one thing is wrong."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec.structs
import orjson
import pytest

from stream_worker.bot.bot import Bot
from stream_worker.contracts.internal import STATE_PREFIX, LedgerRecord, ledger_key
from stream_worker.conversation.dialogue import Dialogue, Frame
from stream_worker.conversation.state import ConversationState, Holder, load_state
from stream_worker.outcome import DeadLetterReason
from tests.chaos.understanding import ScriptedEncoder, chaos_bot, understood
from tests.delivery import Delivery
from tests.replay import Replay
from tests.unit.worker.rig import Rig, settings

Value = dict[str, Any]
_WINDOW = 8


@pytest.fixture(scope="module")
def bot(tmp_path_factory: pytest.TempPathFactory) -> Bot:
    folder: Path = tmp_path_factory.mktemp("bot")
    return chaos_bot(folder)


@pytest.fixture(scope="module")
def replay(bot: Bot) -> Replay:
    return Replay(bot=bot, dedup_window=_WINDOW, understand=understood)


@pytest.fixture(scope="module")
def good(bot: Bot) -> Delivery:
    """Two conversations, with a hand-over, a human's words, and a message that came twice."""
    rig = Rig(settings(conversation={"dedup_window": _WINDOW}), bot=bot, encoder=ScriptedEncoder())
    rig.start()
    for number, text in enumerate(["what about weather?", "in Shanghai", "thanks"]):
        rig.send("c-1", message_id=f"m-{number}", text=text)
        rig.send("c-2", message_id=f"n-{number}", text=text)
        rig.run(1.0)
    rig.send("c-1", message_id="m-2", text="thanks")
    rig.send("c-2", message_id="h-0", type="handoff")
    rig.run(1.0)
    rig.send("c-2", message_id="n-3", text="are you human?")
    rig.send("c-2", message_id="a-0", text="I am", sender={"id": "a-1", "role": "agent"})
    rig.run(1.0)
    topics, broker = rig.settings.topics, rig.broker
    events = {(each.partition, each.offset): orjson.loads(each.value or b"") for each in broker.records(topics.events)}
    return Delivery(
        events=events,
        metrics=rig.metrics,
        replies=rig.replies,
        commands=rig.published(topics.actions),
        deltas=rig.published(topics.deltas),
        buried=[],
        changelog=rig.changelog,
        poison=("(poison)",),
    )


def test_a_good_history_passes(good: Delivery, replay: Replay) -> None:
    figures = good.check(replay)
    assert figures["outcomes"] == {"replied": 6, "duplicate": 1, "silent": 3}
    assert figures["previews_complete"] == 6


def _of(records: Any, name: str) -> list[Value]:
    return [dict(each) for each in records if each["conversation_id"] == name]


def _last_state(good: Delivery, change: Callable[[ConversationState], ConversationState]) -> Delivery:
    """The last state of the second conversation is another one."""
    key = STATE_PREFIX + b"c-2"
    last = next(value for found, value in reversed(list(good.changelog)) if found == key)
    assert last is not None
    return replace(good, changelog=[*good.changelog, (key, change(load_state(last)).dump())])


def _lost(good: Delivery) -> Delivery:
    return replace(
        good,
        events={
            **good.events,
            (3, 50): {"conversation_id": "c-3", "message_id": "x", "text": "hello", "sender": {"id": "u-1"}},
        },
    )


def _settled_twice(good: Delivery) -> Delivery:
    return replace(good, metrics=[*good.metrics, good.metrics[0]])


def _answered_over_a_human(good: Delivery) -> Delivery:
    """The hand-over settled before the reply to the message that had come before it."""
    names = [metric["event_id"] for metric in good.metrics]
    metrics, reply, handover = list(good.metrics), names.index("n-2"), names.index("h-0")
    metrics[reply], metrics[handover] = metrics[handover], metrics[reply]
    return replace(good, metrics=metrics)


def _settled_unsent(good: Delivery) -> Delivery:
    return replace(good, metrics=[*good.metrics, {**good.metrics[0], "offset": 99}])


def _answered_twice(good: Delivery) -> Delivery:
    return replace(good, replies=[*good.replies, good.replies[0]])


def _out_of_order(good: Delivery) -> Delivery:
    others = [reply for reply in good.replies if reply["conversation_id"] != "c-1"]
    return replace(good, replies=[*reversed(_of(good.replies, "c-1")), *others])


def _reply_without_a_turn(good: Delivery) -> Delivery:
    extra = {**good.replies[0], "turn_id": "t", "reply_id": "t", "in_reply_to": ["nobody"]}
    return replace(good, replies=[*good.replies, extra])


def _reply_of_an_aborted_history(good: Delivery) -> Delivery:
    last = good.replies[-1]
    return replace(good, replies=[*good.replies[:-1], {**last, "text": "An answer to something that was never said."}])


def _answers_others(good: Delivery) -> Delivery:
    last = good.replies[-1]
    return replace(good, replies=[*good.replies[:-1], {**last, "in_reply_to": [*last["in_reply_to"], "m-9"]}])


def _command_twice(good: Delivery) -> Delivery:
    return replace(good, commands=[*good.commands, good.commands[0]])


def _command_lost(good: Delivery) -> Delivery:
    return replace(good, commands=good.commands[1:])


def _command_of_an_aborted_turn(good: Delivery) -> Delivery:
    return replace(good, commands=[*good.commands, {**good.commands[0], "command_id": "x", "turn_id": "nobody"}])


def _turn_lost(good: Delivery) -> Delivery:
    return _last_state(good, lambda state: msgspec.structs.replace(state, turns=state.turns - 1))


def _line_lost(good: Delivery) -> Delivery:
    return _last_state(good, lambda state: msgspec.structs.replace(state, history=state.history[1:]))


def _line_of_a_user_changed(good: Delivery) -> Delivery:
    def change(state: ConversationState) -> ConversationState:
        first, *others = state.history
        return msgspec.structs.replace(state, history=(msgspec.structs.replace(first, text="another"), *others))

    return _last_state(good, change)


def _holder_lost(good: Delivery) -> Delivery:
    return _last_state(good, lambda state: msgspec.structs.replace(state, holder=Holder.BOT))


def _window_lost(good: Delivery) -> Delivery:
    return _last_state(good, lambda state: msgspec.structs.replace(state, remembered=state.remembered[17:]))


def _slots_lost(good: Delivery) -> Delivery:
    forgotten = {"u-1": Dialogue(frames=(Frame("ask"),), language="en")}
    return _last_state(good, lambda state: msgspec.structs.replace(state, dialogues=forgotten))


def _preview_differs(good: Delivery) -> Delivery:
    first, *others = good.deltas
    return replace(good, deltas=[{**first, "text": first["text"].upper()}, *others])


def _ledger(partition: int, **fields: Any) -> tuple[bytes, bytes]:
    at = {"topic_id": "t", "partition": partition, "partitions": 4, "term": 9, "next": 90, "open": ()}
    record = LedgerRecord(**{**at, **fields})
    return ledger_key(partition), record.dump()


def _ledger_goes_back(good: Delivery) -> Delivery:
    return replace(good, changelog=[*good.changelog, _ledger(0, next=90), _ledger(0, next=89)])


def _dead(good: Delivery, text: str = "hello", reason: DeadLetterReason = DeadLetterReason.TURN_TIMEOUT) -> Delivery:
    """One event more, in a conversation of its own, that ended as a dead letter."""
    event = {"conversation_id": "c-3", "message_id": "d-0", "text": text, "sender": {"id": "u-1"}}
    metric = {
        **good.metrics[0],
        "conversation_id": "c-3",
        "event_id": "d-0",
        "partition": 3,
        "offset": 50,
        "term": 7,
        "outcome": "dead_lettered",
        "reason": reason.value,
        "turn_id": "d",
        "reply_id": None,
    }
    return replace(
        good,
        events={**good.events, (3, 50): event},
        metrics=[*good.metrics, metric],
        buried=[(3, 50)],
    )


def test_a_dead_letter_is_no_part_of_a_conversation(good: Delivery, replay: Replay) -> None:
    _dead(good).check(replay)


def _letter_lost(good: Delivery) -> Delivery:
    return replace(_dead(good), buried=[])


def _letter_twice(good: Delivery) -> Delivery:
    return replace(_dead(good), buried=[(3, 50), (3, 50)])


def _poison_answered(good: Delivery) -> Delivery:
    place = next(place for place, event in good.events.items() if event["message_id"] == "m-0")
    return replace(good, events={**good.events, place: {**good.events[place], "text": "what about (poison)?"}})


def _condemned(good: Delivery, *records: tuple[bytes, bytes]) -> Delivery:
    dead = _dead(good, reason=DeadLetterReason.SUSPECTED_CRASH)
    return replace(dead, changelog=[*good.changelog, *records])


def _condemned_unnamed(good: Delivery) -> Delivery:
    return _condemned(good, _ledger(3, term=5, crashes=((51, 2),), suspect=51, open=(50, 51)))


def _condemned_after_one_crash(good: Delivery) -> Delivery:
    """Named, but it may have been running at one crash only: it did not run alone."""
    return _condemned(good, _ledger(3, term=5, crashes=((50, 1), (51, 2)), suspect=50, open=(50, 51)))


def _condemned_though_let_go(good: Delivery) -> Delivery:
    named = _ledger(3, term=5, crashes=((50, 2),), suspect=50, open=(50,))
    return _condemned(good, named, _ledger(3, term=5, released=True, open=(50,)))


def test_a_suspect_of_two_crashes_may_be_condemned(good: Delivery, replay: Replay) -> None:
    _condemned(good, _ledger(3, term=5, crashes=((50, 2),), suspect=50, open=(50,))).check(replay)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (_lost, "lost"),
        (_settled_twice, "settled twice"),
        (_settled_unsent, "settled though nobody sent it"),
        (_answered_twice, "answered twice"),
        (_out_of_order, "out of order"),
        (_reply_without_a_turn, "replies of turns that nobody settled"),
        (_answered_over_a_human, "while a human had c-2"),
        (_reply_of_an_aborted_history, "does not follow from what was said"),
        (_answers_others, "answers others"),
        (_command_twice, "a command was emitted twice"),
        (_command_lost, "commands and replies are not of the same turns"),
        (_command_of_an_aborted_turn, "commands and replies are not of the same turns"),
        (_turn_lost, "state lost"),
        (_line_lost, "remembers other things said"),
        (_line_of_a_user_changed, "remembers other things said"),
        (_holder_lost, "is the bot's"),
        (_window_lost, "another window of ids"),
        (_slots_lost, "other slots"),
        (_preview_differs, "does not add up"),
        (_ledger_goes_back, "next went back"),
        (_letter_lost, "dead letters and outcomes differ"),
        (_letter_twice, "dead letters and outcomes differ"),
        (_poison_answered, "answered, though nobody can"),
        (_condemned_unnamed, "condemned without suspicion"),
        (_condemned_after_one_crash, "condemned without suspicion"),
        (_condemned_though_let_go, "though let go in order"),
    ],
)
def test_what_is_wrong_is_found(
    wrong: Callable[[Delivery], Delivery], what: str, good: Delivery, replay: Replay
) -> None:
    with pytest.raises(AssertionError) as found:
        wrong(good).check(replay)
    assert re.search(what, str(found.value)), found.value
