"""What happens to running turns when their partition moves: release, late results, and previews."""

import pytest

from stream_worker.clock import Clock, ManualClock
from stream_worker.inference.scripted import ScriptedStepper
from stream_worker.inference.stepper import Stepper
from stream_worker.orders import Generate, TurnRef
from stream_worker.settings import Settings
from tests import checker
from tests.kafka.cluster import QUICK, Cluster, scripted
from tests.kafka.conftest import SettingsFor
from tests.kafka.event_writer import conversation_in
from tests.kafka.sabotage import Bug, planted


def _by_term(order: Generate) -> str:
    """A text that tells which owner of the partition made it."""
    return f"said in term {order.ref.term}"


def released_partition_is_released(settings: Settings, seconds_per_word: float = 0.6) -> None:
    """Both partitions have a running turn when a second worker joins."""
    with Cluster(settings, scripted(_by_term, lambda _: seconds_per_word)) as cluster:
        cluster.start("a")
        cluster.run_until_term(1, 0, 1)
        for partition in (0, 1):
            cluster.events.say(conversation_in(partition, 2))
        cluster.run_until(lambda: len({delta["turn_id"] for delta in cluster.outputs.deltas}) == 2, "both turns run")
        cluster.start("b")
        cluster.run_until_settled()
        cluster.run_until(lambda: _taken(cluster, 2), "a partition moved")
        cluster.run_for(0.3)
        checker.ledgers_never_go_back(cluster.outputs.changelog)
        checker.each_event_has_one_outcome(cluster.events.sent, cluster.outputs.metrics)
        checker.no_event_is_answered_twice(cluster.outputs.replies)
        checker.state_is_what_was_published(cluster.outputs.replies, cluster.outputs.changelog)
        assert {reply["term"] for reply in cluster.outputs.replies} == {1}, "a turn that could end was given away"


def test_a_release_ends_turns_and_commits_inside_the_callback(settings_for: SettingsFor) -> None:
    released_partition_is_released(settings_for(kafka=QUICK | {"release_ms": 10_000}))


def test_a_release_after_the_callback_overwrites_the_new_owner(settings_for: SettingsFor) -> None:
    settings = settings_for(kafka=QUICK | {"release_ms": 10_000})
    # So long that the second one has claimed its partition before the turn ends, on a busy machine, too.
    with planted(Bug.RELEASED_BY_THE_LOOP), pytest.raises(AssertionError, match="went back"):
        released_partition_is_released(settings, seconds_per_word=2.0)


class DeafStepper(ScriptedStepper):
    """Hears no cancel, as a model server that is in the middle of a call."""

    def cancel(self, ref: TurnRef) -> None: ...


_WORDS = 20


def _long_by_term(order: Generate) -> str:
    return " ".join([f"said-in-term-{order.ref.term}"] * _WORDS)


def _deaf(clock: Clock) -> Stepper:
    """A word takes a second of the engine's clock."""
    return DeafStepper(clock, seconds=lambda _: 1.0, reply=_long_by_term)


def late_result_is_not_used(settings: Settings) -> None:
    """A worker loses a partition in the middle of a turn and takes it again; then the first attempt's result comes."""
    engine_clock = ManualClock()
    with Cluster(settings, _deaf, engine_clock) as cluster:
        first = cluster.start("a")
        cluster.run_until_term(1, 0, 1)
        for partition in (0, 1):
            cluster.events.say(conversation_in(partition, 2))
        cluster.run_until(lambda: len(_shown(cluster, engine_clock, 1)) == 2, "both turns run")
        cluster.start("b")
        moved = cluster.run_until(lambda: _taken(cluster, 2), "a partition moved")
        cluster.crash("b")
        cluster.run_until_term(3, *moved)
        cluster.run_until(lambda: _shown(cluster, engine_clock, 3), "the turn runs again")
        # The first attempts of both turns end now; the second one of the turn that moved began later.
        engine_clock.advance(_WORDS + 0.1 * _WORDS - engine_clock.monotonic())
        cluster.run_for(0.3)
        engine_clock.advance(10 * _WORDS)
        cluster.run_until_settled()
        said = {reply["term"]: reply["text"].split()[0] for reply in cluster.outputs.replies}
        assert said == {1: "said-in-term-1", 3: "said-in-term-3"}, f"a late result was used: {said}"
        assert first.journal.late > 0
        checker.each_event_has_one_outcome(cluster.events.sent, cluster.outputs.metrics)
        checker.previews_add_up(cluster.outputs.replies, cluster.outputs.deltas)


def _shown(cluster: Cluster, engine_clock: ManualClock, term: int) -> set[str]:
    """The turns of which a part is shown, a moment later each time it is asked."""
    engine_clock.advance(0.2)
    return {delta["turn_id"] for delta in cluster.outputs.deltas if delta["term"] == term and delta["text"]}


def _taken(cluster: Cluster, term: int) -> list[int]:
    return [partition for partition, ledger in cluster.outputs.ledgers.items() if ledger.term == term]


def test_a_late_result_of_an_old_term_is_not_produced(settings_for: SettingsFor) -> None:
    late_result_is_not_used(settings_for(kafka=QUICK | {"release_ms": 50}))


def test_without_the_term_a_late_result_is_produced(settings_for: SettingsFor) -> None:
    settings = settings_for(kafka=QUICK | {"release_ms": 50})
    with planted(Bug.LATE_RESULTS_TAKEN), pytest.raises(AssertionError, match="a late result was used"):
        late_result_is_not_used(settings)


def previews_of_two_owners_add_up(settings: Settings) -> None:
    """A worker dies after it has shown a part of its reply; the next one says something else."""
    engine_clock = ManualClock()
    texts = iter(["the first try", "another try altogether"])
    with Cluster(settings, scripted(lambda _: next(texts), lambda _: 1.0), engine_clock) as cluster:
        cluster.start("a")
        cluster.events.say("c")
        cluster.run_until(lambda: _shown(cluster, engine_clock, 1), "a part is shown")
        cluster.crash("a")
        cluster.start("b")
        cluster.run_until(lambda: _answered(cluster, engine_clock), "it is answered")
        checker.previews_add_up(cluster.outputs.replies, cluster.outputs.deltas)


def _answered(cluster: Cluster, engine_clock: ManualClock) -> bool:
    engine_clock.advance(0.2)
    return bool(cluster.outputs.replies)


def test_deltas_of_the_highest_term_add_up_to_the_reply(settings_for: SettingsFor) -> None:
    previews_of_two_owners_add_up(settings_for(partitions=1, kafka=QUICK))


def test_without_a_new_term_the_deltas_of_two_owners_mix(settings_for: SettingsFor) -> None:
    settings = settings_for(partitions=1, kafka=QUICK)
    with planted(Bug.TERM_NOT_RAISED), pytest.raises(AssertionError, match="does not add up"):
        previews_of_two_owners_add_up(settings)
