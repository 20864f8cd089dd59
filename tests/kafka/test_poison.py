"""An event that kills every process that tries it, or hangs its engine, costs three crashes at the most."""

from pathlib import Path

import pytest

from stream_worker.outcome import DeadLetterReason
from stream_worker.settings import Settings
from tests import checker
from tests.eventually import eventually
from tests.kafka.cluster import QUICK
from tests.kafka.conftest import SettingsFor
from tests.kafka.event_writer import EventWriter
from tests.kafka.processes import WorkerProcess
from tests.kafka.sabotage import Bug
from tests.kafka.topic_reader import TopicReader

_MAX_CRASHES = 3
_PARTITIONS = 8
_SETTLES_S = 120.0
"""A hang guard: a quiet machine needs 5 to 15 s."""


class _Supervisor:
    """Starts the one worker again whenever it ends, as Kubernetes would."""

    def __init__(self, settings: Settings, folder: Path, bug: Bug | None) -> None:
        self._settings = settings
        self._folder = folder
        self._bug = bug
        self.ends: list[int] = []
        self._worker = self._started()

    def watch(self) -> None:
        if not self._worker.is_alive:
            self.ends.append(self._worker.exit_code())
            assert len(self.ends) <= _MAX_CRASHES, f"crashed {len(self.ends)} times: {self.ends}"
            self._worker = self._started()

    def end(self) -> int:
        self._worker.terminate()
        return self._worker.exit_code()

    def kill(self) -> None:
        self._worker.kill()

    def stacks(self) -> str:
        return self._worker.tell_stacks()

    @property
    def log(self) -> str:
        return self._worker.log

    def _started(self) -> WorkerProcess:
        return WorkerProcess(self._settings, self._folder, "w-0", seconds_per_token=0.02, bug=self._bug, fragile=True)


def poison_is_found(settings: Settings, folder: Path, text: str, good_turns: int, bug: Bug | None = None) -> list[int]:
    """Good turns, then the poison, and partitions in which nothing happens; how the workers ended."""
    events, outputs = EventWriter(settings), TopicReader(settings)
    supervisor = _Supervisor(settings, folder, bug)
    try:
        eventually(lambda: len(outputs.ledgers) == _PARTITIONS)
        # All of three conversations: most partitions stay idle.
        for number in range(good_turns):
            events.say(f"c-{number % 3}", f"text {number}")
        guilty = events.say("c-1", text)

        def all_settled() -> bool:
            supervisor.watch()
            return outputs.outcomes.keys() >= set(events.sent)

        try:
            eventually(all_settled, _SETTLES_S)
        except AssertionError as error:
            unsettled = sorted(set(events.sent) - outputs.outcomes.keys())
            raise AssertionError(f"{error}; unsettled: {unsettled}\n{supervisor.stacks()}") from error
        assert supervisor.end() == 0, supervisor.log
        checker.each_event_has_one_outcome(events.sent, outputs.metrics)
        checker.no_event_is_answered_twice(outputs.replies)
        checker.replies_are_in_order(events.sent, outputs.replies)
        outcomes = outputs.outcomes
        assert outcomes.pop(guilty) == "dead_lettered"
        assert set(outcomes.values()) == {"replied"}
        (letter,) = outputs.dead_letter_headers
        assert letter["sw_reason"] == DeadLetterReason.SUSPECTED_CRASH.value.encode()
        return supervisor.ends
    finally:
        supervisor.kill()
        outputs.close()


def _settings(settings_for: SettingsFor) -> Settings:
    return settings_for(
        partitions=_PARTITIONS,
        kafka=QUICK | {"session_timeout_ms": 10_000},
        engine={"device_stall_ms": 1_500},
        admission={"max_waiting_events": 100},
    )


def test_a_text_that_kills_the_process_costs_three_crashes_and_no_other_reply(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    assert poison_is_found(_settings(settings_for), tmp_path, "poison", 60) == [-9, -9, -9]


def test_a_text_that_hangs_the_device_ends_the_process_in_time_and_counts(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    assert poison_is_found(_settings(settings_for), tmp_path, "tar", 60) == [1, 1, 1]


def test_a_suspect_that_is_let_off_goes_on_killing(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = _settings(settings_for)
    with pytest.raises(AssertionError, match="crashed 4 times"):
        poison_is_found(settings, tmp_path, "poison", 2, Bug.SUSPECT_ACQUITTED)
