"""What a transaction promises: aborted outputs stay invisible, a refused record takes out one turn, fencing is ours."""

import random
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from confluent_kafka.admin import AdminClient

from stream_worker.clock import ManualClock
from stream_worker.contracts.dead_letter import REASON
from stream_worker.kafka.client_settings import admin_settings
from stream_worker.orders import Generate
from stream_worker.outcome import Outcome
from stream_worker.settings import Settings
from stream_worker.tokens import PromptMessages
from tests import checker
from tests.kafka.cluster import QUICK, Cluster, scripted
from tests.kafka.conftest import SettingsFor
from tests.kafka.event_writer import conversation_in
from tests.kafka.sabotage import Bug, planted
from tests.kafka.test_topics import alter
from tests.kafka.topic_log import Isolation
from tests.kafka.topic_reader import TopicReader

_LIMIT_BYTES = 20_000
_ROUNDS = 10
_STALL_S = 10.0
"""A third of `max_poll_interval_ms`, and what the records of a transaction have at the most."""
_LARGE = "large"
"""A message with this text is answered by more than the topic takes."""


def _said(order: Generate) -> list[str]:
    assert isinstance(order.prompt, PromptMessages)
    return [message.text for message in order.prompt.messages]


def _reply(order: Generate) -> str:
    """A broker measures what is sent, so a large reply must not shrink when it is compressed."""
    text = _said(order)[-1]
    return b64encode(random.Random(1).randbytes(2 * _LIMIT_BYTES)).decode() if text == _LARGE else f"re: {text}"


def _seconds(order: Generate) -> float:
    """These wait for the engine's clock; so they end at once, and stand in one transaction."""
    return 1.0 if _said(order)[-1] in ("small", _LARGE) else 0.0


@contextmanager
def _smaller_replies(settings: Settings) -> Iterator[tuple[Cluster, Callable[[int], None]]]:
    """A worker that believes what the topic of replies took when it started; since then that is less.

    And what lets so many turns end at once, when all of them run.
    """
    clock = ManualClock()
    with Cluster(settings, scripted(_reply, _seconds), clock) as cluster:
        engine = cluster.start().engine
        cluster.run_until_term(1, *range(settings.topics.partitions))
        replies = settings.output_topic(settings.topics.replies)
        alter(AdminClient(admin_settings(settings)), replies, {"max.message.bytes": str(_LIMIT_BYTES)})

        def answer_together(turns: int) -> None:
            cluster.run_until(lambda: engine.stats().running == turns, "all turns run")
            clock.advance(1_000.0)

        yield cluster, answer_together


def aborted_replies_stay_invisible(settings: Settings, isolation: Isolation = "read_committed") -> None:
    """The broker refuses one of two replies; the other one stood in the same transaction.

    Now and then a client takes the other one back before it has sent it: then they are said again.
    """
    with _smaller_replies(settings) as (cluster, answer_together), ExitStack() as stack:
        raw, seen = TopicReader(settings, "read_uncommitted"), TopicReader(settings, isolation)
        stack.callback(raw.close)
        stack.callback(seen.close)
        for _ in range(_ROUNDS):
            cluster.events.say(conversation_in(0, 2), "small")
            cluster.events.say(conversation_in(1, 2), _LARGE)
            answer_together(2)
            cluster.run_until_committed()
            checker.no_event_is_answered_twice(seen.replies)
            if len(raw.replies) > len(seen.replies):
                return
        raise AssertionError("nothing was aborted")


def test_an_aborted_reply_stays_invisible(settings_for: SettingsFor) -> None:
    aborted_replies_stay_invisible(settings_for(kafka=QUICK))


def test_an_uncommitted_reader_sees_aborted_replies(settings_for: SettingsFor) -> None:
    with pytest.raises(AssertionError, match="answered twice"):
        aborted_replies_stay_invisible(settings_for(kafka=QUICK), "read_uncommitted")


def test_replies_outside_the_transaction_are_seen_twice(settings_for: SettingsFor) -> None:
    with planted(Bug.REPLIES_OUTSIDE_THE_TRANSACTION), pytest.raises(AssertionError, match="answered twice"):
        aborted_replies_stay_invisible(settings_for(kafka=QUICK))


def refused_record_takes_out_one_turn(settings: Settings) -> None:
    """In one transaction: a refused reply, replies before and behind it, and later turns of its conversation."""
    with _smaller_replies(settings) as (cluster, answer_together):
        say = cluster.events.say
        say("c-0", "small")
        refused = say("c-1", _LARGE)
        say("c-1", "later")
        say("c-1", "last")
        say("c-2", "small")
        answer_together(3)
        cluster.run_until_settled()
        outcomes = cluster.outputs.outcomes
        dead = [event_id for event_id, outcome in outcomes.items() if outcome == Outcome.DEAD_LETTERED]
        assert dead == [refused], f"not the refused one alone is dead: {dead}"
        assert [headers[REASON] for headers in cluster.outputs.dead_letter_headers] == [b"refused_by_broker"]
        say("c-1", "after all that")
        cluster.run_until_settled()
        checker.each_event_has_one_outcome(cluster.events.sent, cluster.outputs.metrics)
        checker.no_event_is_answered_twice(cluster.outputs.replies)
        checker.replies_are_in_order(cluster.events.sent, cluster.outputs.replies)
        checker.state_is_what_was_published(cluster.outputs.replies, cluster.outputs.changelog)
        assert cluster.workers["a"].journal.replaced == 0


def test_a_refused_record_takes_out_one_turn(settings_for: SettingsFor) -> None:
    refused_record_takes_out_one_turn(settings_for(kafka=QUICK))


def test_what_was_refused_delays_nothing_later(settings_for: SettingsFor) -> None:
    """A client that went on counting behind a refused record would stand still for `_STALL_S` when it sees the gap."""
    settings, chance = settings_for(partitions=4, kafka=QUICK), random.Random(3)
    with _smaller_replies(settings) as (cluster, answer_together):
        for number in range(_ROUNDS):
            turns = chance.randint(2, 12)
            for turn in range(turns):
                cluster.events.say(f"c-{number}-{turn}", _LARGE if chance.random() < 0.3 else "small")
            answer_together(turns)
            cluster.run_until_settled(_STALL_S)
        checker.each_event_has_one_outcome(cluster.events.sent, cluster.outputs.metrics)
        assert cluster.workers["a"].journal.replaced == 0, "the clients were replaced"


def test_without_isolation_a_refused_record_takes_out_a_transaction(settings_for: SettingsFor) -> None:
    settings = settings_for(kafka=QUICK)
    with planted(Bug.WHOLE_TRANSACTION_GUILTY), pytest.raises(AssertionError, match="not the refused one alone"):
        refused_record_takes_out_one_turn(settings)


def worker_survives_a_rebalance(settings: Settings) -> None:
    """Another worker joins and takes a partition; the one that stays must be able to commit."""
    with Cluster(settings) as cluster:
        cluster.start("a")
        cluster.run_until_term(1, 0, 1)
        joined = cluster.start("b")
        cluster.run_until(lambda: joined.phases, "a partition moved")
        for partition in (0, 1):
            cluster.events.say(conversation_in(partition, 2))
        expected = set(cluster.events.sent)
        cluster.run_until(lambda: expected <= cluster.outputs.outcomes.keys(), "both members commit", deadline_s=5.0)
        checker.each_event_has_one_outcome(cluster.events.sent, cluster.outputs.metrics)


def test_the_membership_is_taken_anew_for_each_transaction(settings_for: SettingsFor) -> None:
    worker_survives_a_rebalance(settings_for(kafka=QUICK))


def test_a_membership_that_is_kept_fences_us_after_a_rebalance(settings_for: SettingsFor) -> None:
    settings = settings_for(kafka=QUICK)
    with planted(Bug.MEMBERSHIP_KEPT), pytest.raises(AssertionError, match="both members commit"):
        worker_survives_a_rebalance(settings)
