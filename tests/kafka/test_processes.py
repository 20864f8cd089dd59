"""What worker processes promise when they are frozen, doubled or asked to end."""

from pathlib import Path

import pytest

from stream_worker.errors import Code
from stream_worker.settings import Settings
from tests import checker
from tests.kafka.cluster import QUICK, Cluster
from tests.kafka.conftest import SettingsFor
from tests.kafka.processes import Freeze, WorkerProcess
from tests.kafka.sabotage import Bug

_LONG_SESSION = {"session_timeout_ms": 120_000, "max_poll_interval_ms": 120_000}


def zombie_commits_nothing(settings: Settings, folder: Path, bug: Bug | None = None) -> None:
    """A process is frozen in the middle of a transaction, with another turn running; another takes over; it thaws."""
    with (
        Cluster(settings) as cluster,
        WorkerProcess(
            settings, folder / "zombie", None, seconds_per_token=0.1, bug=bug, freezes=Freeze.QUEUED
        ) as zombie,
    ):
        cluster.run_until_term(1, 0)
        for number in range(4):
            cluster.events.say(f"c-{number}", f"text {number}")
        cluster.run_until(lambda: zombie.is_frozen, "it is frozen")
        cluster.start("b")
        cluster.run_until_settled()
        zombie.thaw()
        cluster.run_until(lambda: "partitions lost" in zombie.log, "the zombie learns of it")
        cluster.events.say("c-0")
        cluster.run_until_settled()
        checker.each_event_has_one_outcome(cluster.events.sent, cluster.outputs.metrics)
        checker.no_event_is_answered_twice(cluster.outputs.replies)
        checker.previews_add_up(cluster.outputs.replies, cluster.outputs.deltas)
        checker.ledgers_never_go_back(cluster.outputs.changelog)
        checker.state_is_what_was_published(cluster.outputs.replies, cluster.outputs.changelog)
        assert {delta["term"] for delta in cluster.outputs.deltas} == {1, 2}
        zombie.terminate()
        cluster.run_until(lambda: not zombie.is_alive, "the zombie drains")
        assert zombie.exit_code() == 0, zombie.log


def test_a_zombie_commits_nothing_and_its_deltas_lose(settings_for: SettingsFor, tmp_path: Path) -> None:
    zombie_commits_nothing(settings_for(partitions=1, kafka=QUICK), tmp_path)


def test_a_membership_from_before_joining_fences_no_zombie(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(partitions=1, kafka=QUICK)
    with pytest.raises(AssertionError, match="settled twice"):
        zombie_commits_nothing(settings, tmp_path, Bug.MEMBERSHIP_FROM_BEFORE_JOINING)


def older_of_two_with_one_id_ends(settings: Settings, folder: Path, bug: Bug | None = None) -> None:
    with (
        Cluster(settings) as cluster,
        WorkerProcess(settings, folder / "older", "w-0", bug=bug) as older,
    ):
        cluster.events.say("c-0")
        cluster.run_until_settled()
        with WorkerProcess(settings, folder / "newer", "w-0", bug=bug) as newer:
            cluster.run_until(lambda: not older.is_alive, "the older one ends", 8.0)
            assert older.exit_code() == 1
            assert Code.FENCED.id in older.log, "the older one does not say why"
            cluster.events.say("c-0")
            cluster.run_until_settled()
            assert newer.is_alive
        checker.each_event_has_one_outcome(cluster.events.sent, cluster.outputs.metrics)


def test_of_two_processes_with_one_id_the_older_ends_and_says_so(settings_for: SettingsFor, tmp_path: Path) -> None:
    older_of_two_with_one_id_ends(settings_for(kafka=QUICK), tmp_path)


def test_taken_for_a_broken_client_two_processes_with_one_id_fight(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(kafka=QUICK)
    with pytest.raises(AssertionError, match="the older one"):
        older_of_two_with_one_id_ends(settings, tmp_path, Bug.FENCED_TAKEN_FOR_BROKEN)


def sigterm_drains(settings: Settings, folder: Path, bug: Bug | None = None, guard_s: float = 60.0) -> None:
    """A static member is asked to end in the middle of a turn; the other one takes over before its session is over.

    The session is longer than `guard_s`: who waits for its end is not done in time, however fast the machine is.
    """
    assert settings.kafka.session_timeout_ms > guard_s * 1_000
    with (
        Cluster(settings) as cluster,
        WorkerProcess(settings, folder / "ending", "w-0", seconds_per_token=0.2, bug=bug) as ending,
    ):
        cluster.run_until_term(1, 0)
        cluster.start("b")
        cluster.events.say("c-0")
        cluster.run_until(lambda: cluster.outputs.deltas, "the turn runs")
        ending.terminate()
        cluster.run_until(lambda: not ending.is_alive, "it ends")
        assert ending.exit_code() == 0, ending.log
        taken = "the group does not wait for the session's end"
        cluster.run_until(lambda: cluster.outputs.ledgers[0].term >= 2, taken, guard_s)
        (reply,) = cluster.outputs.replies
        assert (reply["term"], reply["attempt"]) == (1, 1), "the running turn was not finished"
        cluster.events.say("c-0")
        cluster.run_until_settled()
        checker.each_event_has_one_outcome(cluster.events.sent, cluster.outputs.metrics)
        checker.state_is_what_was_published(cluster.outputs.replies, cluster.outputs.changelog)
        assert cluster.outputs.ledgers[0].starts == 0, "it did not say that it released the partition"


def test_sigterm_drains_and_others_take_over_at_once(settings_for: SettingsFor, tmp_path: Path) -> None:
    sigterm_drains(settings_for(partitions=1, kafka=QUICK | _LONG_SESSION), tmp_path)


def test_a_static_member_that_only_closes_keeps_its_partitions(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(partitions=1, kafka=QUICK | _LONG_SESSION)
    with pytest.raises(AssertionError, match="does not wait for the session's end"):
        sigterm_drains(settings, tmp_path, Bug.LEFT_BY_CLOSING, guard_s=8.0)
