"""A whole worker on the in-memory edge: what one event leads to."""

from dataclasses import replace

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stream_worker.bot.bot import Fallback, IntentRule, TemplateReply
from stream_worker.bot.bots import ANY, Binding
from stream_worker.bot.phrase import Phrase, Template
from stream_worker.contracts.dead_letter import REASON
from stream_worker.inference.scripted import derived_reply
from stream_worker.orders import Generate
from stream_worker.outcome import DeadLetterReason
from stream_worker.tokens import PromptMessages
from tests.unit.worker.rig import MODEL_BOT, Rig, settings


def _last_text(order: Generate) -> str:
    assert isinstance(order.prompt, PromptMessages)
    return order.prompt.messages[-1].text


def _all_texts(order: Generate) -> str:
    assert isinstance(order.prompt, PromptMessages)
    return " ".join(message.text for message in order.prompt.messages)


def test_a_message_gets_one_reply_and_one_metric() -> None:
    rig = Rig()
    rig.start()
    rig.send(message_id="m-1", text="hello", metadata={"room": "42"})
    rig.run(1.0)
    (reply,) = rig.replies
    (metric,) = rig.metrics
    assert reply["in_reply_to"] == ["m-1"]
    assert reply["metadata"] == {"room": "42"}
    assert reply["versions"]["bot"] == "test"
    assert (metric["event_id"], metric["outcome"], metric["reply_id"]) == ("m-1", "replied", reply["reply_id"])
    assert metric["tokens"]["generated"] > 0


def test_replies_of_a_conversation_come_in_the_order_of_its_messages_and_see_what_was_said() -> None:
    prompts: list[tuple[str, ...]] = []

    def reply(order: Generate) -> str:
        assert isinstance(order.prompt, PromptMessages)
        prompts.append(tuple(message.text for message in order.prompt.messages))
        return f"re: {_last_text(order)}"

    rig = Rig(reply=reply)
    rig.start()
    for number in range(4):
        rig.send(message_id=f"m-{number}", text=f"text {number}")
    rig.run(2.0)
    assert [each["text"] for each in rig.replies] == [f"re: text {number}" for number in range(4)]
    assert max(prompts, key=len) == ("text 0", "re: text 0", "text 1", "re: text 1", "text 2", "re: text 2", "text 3")


def test_turns_of_a_partition_finish_out_of_order_and_the_slow_one_blocks_nobody() -> None:
    rig = Rig(settings(topics={"partitions": 1}), seconds=lambda order: 0.5 if _last_text(order) == "slow" else 0.001)
    rig.start()
    rig.send("c-slow", message_id="m-slow", text="slow")
    for number in range(5):
        rig.send(f"c-{number}", message_id=f"m-{number}", text="quick")
    rig.run(0.5)
    assert sorted(rig.outcomes) == [f"m-{number}" for number in range(5)]
    rig.run(10.0)
    assert rig.outcomes["m-slow"] == ["replied"]


def test_a_duplicate_is_recognised_after_its_original_was_answered_and_a_redrive_passes() -> None:
    rig = Rig()
    rig.start()
    for _ in range(3):
        rig.send(message_id="m-1", text="hello")
        rig.run(1.0)
    assert rig.outcomes["m-1"] == ["replied", "duplicate", "duplicate"]
    rig.send(message_id="m-1", text="hello", headers=(("redrive", b"1"),))
    rig.run(1.0)
    assert rig.outcomes["m-1"][-1] == "replied"
    first, again = rig.replies
    assert first["turn_id"] == again["turn_id"]
    assert first["reply_id"] != again["reply_id"]


def test_the_trace_context_of_an_event_stands_on_everything_that_comes_of_it() -> None:
    rig = Rig()
    rig.start()
    traceparent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    rig.send(message_id="m-1", text="hello", headers=(("traceparent", traceparent),))
    rig.run(1.0)
    topics = rig.settings.topics
    for topic in (topics.replies, topics.metrics, topics.analysis):
        (record,) = rig.broker.read_committed(topic)
        headers = dict(record.headers)
        assert headers["traceparent"] == traceparent
        assert headers["ce_specversion"] == b"1.0"
        assert headers["content-type"] == b"application/json"


@pytest.mark.parametrize("deltas", ["raw", "checked"])
def test_deltas_of_the_highest_attempt_add_up_to_the_reply(deltas: str) -> None:
    rig = Rig(settings(outputs={"deltas": deltas, "delta_interval_ms": 0}), seconds=lambda _: 0.05)
    rig.start()
    rig.send(message_id="m-1", text="hello")
    rig.run(3.0)
    (reply,) = rig.replies
    pieces = rig.published(rig.settings.topics.deltas)
    assert "".join(piece["text"] for piece in pieces) == reply["text"]
    assert [piece["seq"] for piece in pieces] == list(range(len(pieces)))
    assert pieces[-1]["state"] == "done"
    if deltas == "raw":
        assert len(pieces) > 2


def test_without_deltas_the_reply_is_all_that_is_published_of_a_generation() -> None:
    rig = Rig(settings(outputs={"deltas": "off", "delta_interval_ms": 0}), seconds=lambda _: 0.05)
    rig.start()
    rig.send(message_id="m-1", text="hello")
    rig.run(3.0)
    rig.send(message_id="m-2", text="hello")
    rig.run(0.1)
    rig.send(message_id="e-1", type="handoff")
    rig.run(3.0)
    assert len(rig.replies) == 1
    assert rig.broker.records(rig.settings.topics.deltas) == []
    assert rig.outcomes == {"m-1": ["replied"], "m-2": ["withdrawn"], "e-1": ["silent"]}


def test_an_event_that_no_bot_answers_is_a_dead_letter_with_what_came() -> None:
    rig = Rig()
    rig._bots.replace((Binding(ANY, "web", MODEL_BOT),))
    running = rig.start()
    sent = rig.send(message_id="m-1", text="hello", channel="sms")
    rig.send(message_id="m-2", text="hello", channel="web")
    rig.run(2.0)
    assert rig.outcomes == {"m-1": ["dead_lettered"], "m-2": ["replied"]}
    assert [reason for reason, _ in running.journal.dead] == [DeadLetterReason.NO_BOT]
    (letter,) = rig.broker.read_committed(rig.settings.topics.dead_letters)
    assert (letter.key, letter.value) == (sent.key, sent.value)
    assert dict(letter.headers)[REASON] == b"no_bot"


def test_an_event_of_any_kind_needs_no_bot_where_nothing_is_to_be_answered() -> None:
    rig = Rig()
    rig._bots.replace(())
    rig.start()
    rig.send(message_id="e-1", type="erasure")
    rig.run(1.0)
    assert rig.outcomes == {"e-1": ["silent"]}


def test_an_edit_of_a_running_message_starts_it_again_and_settles_with_it() -> None:
    rig = Rig(
        settings(outputs={"delta_interval_ms": 0}),
        reply=lambda order: f"re: {_last_text(order)}",
        seconds=lambda _: 0.4,
    )
    rig.start()
    rig.send(message_id="m-1", text="first")
    rig.run(0.5)
    rig.send(message_id="m-2", type="edit", target_id="m-1", text="second")
    rig.run(3.0)
    (reply,) = rig.replies
    assert reply["text"] == "re: second"
    assert (reply["attempt"], reply["in_reply_to"]) == (2, ["m-1", "m-2"])
    assert rig.outcomes == {"m-1": ["replied"], "m-2": ["merged"]}
    deltas = rig.published(rig.settings.topics.deltas)
    assert "".join(piece["text"] for piece in deltas if piece["attempt"] == 2) == reply["text"]


def test_a_deleted_message_is_not_answered() -> None:
    rig = Rig(seconds=lambda _: 0.2)
    rig.start()
    rig.send(message_id="m-1", text="first")
    rig.run(0.5)
    rig.send(message_id="m-2", type="deletion", target_id="m-1")
    rig.run(3.0)
    assert rig.replies == []
    assert rig.outcomes == {"m-1": ["withdrawn"], "m-2": ["withdrawn"]}


def test_after_a_hand_off_the_bot_is_silent_until_it_is_given_back() -> None:
    rig = Rig(seconds=lambda _: 0.2)
    rig.start()
    rig.send(message_id="m-1", text="running")
    rig.send(message_id="m-2", text="waiting")
    rig.run(0.3)
    rig.send(message_id="h-1", type="handoff")
    rig.send(message_id="m-3", text="to the human")
    rig.run(3.0)
    assert rig.replies == []
    rig.send(message_id="h-2", type="handback")
    rig.send(message_id="m-4", text="to the bot")
    rig.run(3.0)
    assert [each["in_reply_to"] for each in rig.replies] == [["m-4"]]
    assert rig.outcomes == {
        "m-1": ["withdrawn"],
        "m-2": ["withdrawn"],
        "h-1": ["silent"],
        "m-3": ["silent"],
        "h-2": ["silent"],
        "m-4": ["replied"],
    }


def test_what_has_expired_is_settled_without_the_engine() -> None:
    asked: list[str] = []

    def reply(order: Generate) -> str:
        asked.append(_last_text(order))
        return "yes"

    rig = Rig(settings(admission={"max_event_age_ms": 1_000}), reply=reply)
    rig.send(message_id="m-old", text="old")
    rig.clock.advance(2.0)
    rig.send(message_id="m-new", text="new")
    rig.start()
    rig.run(1.0)
    assert rig.outcomes == {"m-old": ["expired"], "m-new": ["replied"]}
    assert asked == ["new"]


def test_in_a_full_mailbox_a_message_joins_the_one_before_it_and_what_joins_none_is_shed() -> None:
    rig = Rig(settings(admission={"max_waiting_events": 2}), seconds=lambda _: 0.1)
    rig.start()
    for number in range(5):
        rig.send(message_id=f"m-{number}", text="hello")
    rig.run(5.0)
    assert sorted(outcome for (outcome,) in rig.outcomes.values()) == [
        "merged",
        "replied",
        "replied",
        "replied",
        "shed",
    ]


def test_a_turn_that_takes_too_long_is_tried_again_and_then_dead_lettered_with_the_original_bytes() -> None:
    rig = Rig(
        settings(admission={"max_turn_ms": 200, "max_attempts": 2, "retry_backoff_ms": 50}), seconds=lambda _: 9.0
    )
    rig.start()
    sent = rig.send(message_id="m-1", text="hello")
    rig.run(2.0)
    assert rig.outcomes == {"m-1": ["dead_lettered"]}
    (letter,) = rig.broker.read_committed(rig.settings.topics.dead_letters)
    assert (letter.key, letter.value) == (sent.key, sent.value)
    assert dict(letter.headers)["sw_reason"] == b"turn_timeout"
    (reply,) = rig.replies
    assert (reply["text"], reply["finish_reason"]) == ("Sorry.", "fallback")


def test_when_nothing_is_open_the_group_stands_at_the_end_of_the_topic() -> None:
    rig = Rig()
    running = rig.start()
    for number in range(20):
        rig.send(f"c-{number}", message_id=f"m-{number}", text="hello")
    rig.run(2.0)
    assert set(running.journal.snapshots[-1].lags.values()) <= {0}
    assert running.journal.snapshots[-1].waiting_events == 0


def test_a_template_that_fails_for_one_message_costs_only_that_one() -> None:
    """The sandbox stops it, but not before it has begun: the value that makes it fail is known only then."""
    failing = Template("{{ 1 / 0 }}", ImmutableSandboxedEnvironment().from_string("{{ 1 / 0 }}"))
    bot = replace(MODEL_BOT, fallback=Fallback(rule=IntentRule(reply=TemplateReply(Phrase(failing)))))
    rig = Rig(bot=bot)
    running = rig.start()
    rig.send("c-1", message_id="m-1", text="hello")
    rig.run(1.0)
    assert rig.outcomes == {"m-1": ["dead_lettered"]}
    assert [reason.value for reason, _ in running.journal.dead] == ["template_failed"]
    assert [reply["text"] for reply in rig.replies] == [bot.error_reply]


def test_a_record_that_the_broker_refuses_takes_out_one_turn() -> None:
    rig = Rig(reply=lambda order: f"re: {_last_text(order)}")
    running = rig.start()
    rig.broker.refuse(rig.settings.topics.replies, lambda record: b"re: bad" in (record.value or b""))
    rig.send("c-1", message_id="a-1", text="good")
    rig.send("c-1", message_id="a-2", text="bad")
    rig.send("c-1", message_id="a-3", text="later")
    rig.send("c-2", message_id="b-1", text="other")
    rig.run(3.0)
    assert rig.outcomes == {
        "a-1": ["replied"],
        "a-2": ["dead_lettered"],
        "a-3": ["replied"],
        "b-1": ["replied"],
    }
    assert [reason.value for reason, _ in running.journal.dead] == ["refused_by_broker"]


def test_a_turn_that_runs_while_one_before_it_is_refused_starts_again() -> None:
    """It was begun with a reply that never came to be; and what comes of its first attempt is late."""
    rig = Rig(
        reply=lambda order: f"{order.ref.attempt}: {_all_texts(order)}",
        seconds=lambda _: 0.05,
    )
    rig.start()
    rig.broker.refuse(rig.settings.topics.replies, lambda record: b"1: bad" in (record.value or b""))
    rig.send("c-1", message_id="a-1", text="bad")
    rig.send("c-1", message_id="a-2", text="later and so long that it runs when the first is refused")
    rig.run(5.0)
    assert rig.outcomes == {"a-1": ["dead_lettered"], "a-2": ["replied"]}
    (reply,) = [each for each in rig.replies if each["in_reply_to"] == ["a-2"]]
    assert reply["text"] == "2: later and so long that it runs when the first is refused"


def test_restarting_replays_nothing() -> None:
    rig = Rig()
    rig.start()
    for number in range(10):
        rig.send(f"c-{number}", message_id=f"m-{number}", text="hello")
    rig.run(2.0)
    rig.stop()
    rig.start()
    rig.run(2.0)
    assert all(outcomes == ["replied"] for outcomes in rig.outcomes.values())
    assert len(rig.outcomes) == 10


def test_a_killed_worker_loses_and_repeats_nothing() -> None:
    rig = Rig(reply=derived_reply, seconds=lambda _: 0.05)
    rig.start("w0")
    for number in range(30):
        rig.send(f"c-{number % 7}", message_id=f"m-{number}", text=f"text {number}")
    rig.run(0.4)
    assert 0 < len(rig.outcomes) < 30
    rig.kill("w0")
    rig.start("w1")
    rig.run(20.0)
    assert {tuple(outcomes) for outcomes in rig.outcomes.values()} == {("replied",)}
    assert len(rig.outcomes) == 30
