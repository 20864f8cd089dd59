"""Two versions of the worker side by side: partitions move between them, and what one writes the other reads."""

from pathlib import Path

import pytest

from stream_worker.cli.exit_codes import ExitCode
from stream_worker.kafka.conversation_reading import view_conversation
from stream_worker.settings import Settings
from tests import checker
from tests.eventually import eventually
from tests.kafka.cluster import QUICK
from tests.kafka.conftest import SettingsFor
from tests.kafka.event_writer import EventWriter, conversation_in
from tests.kafka.processes import Former, WorkerProcess
from tests.kafka.topic_reader import TopicReader

_CONVERSATIONS = [conversation_in(number, 2) for number in (0, 1)]
_S = 90.0
_READS_BEFORE_IT_WRITES = (Former.WRITES_FORMAT_1,)
_KNOWS_NO_OTHER = (Former.WRITES_FORMAT_1, Former.READS_FORMAT_1)


class Talk:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.events = EventWriter(settings)
        self.outputs = TopicReader(settings)

    def round(self) -> None:
        """A message in each conversation, until all that was ever said is settled."""
        for conversation in _CONVERSATIONS:
            self.events.say(conversation)
        eventually(lambda: set(self.events.sent) <= self.outputs.outcomes.keys(), _S)

    def taken(self, *terms: int) -> None:
        eventually(lambda: sorted(each.term for each in self.outputs.ledgers.values()) == sorted(terms), _S)

    def formats(self) -> set[int]:
        """In which the last states are written."""
        last = {key: value for key, value in self.outputs.changelog if key.startswith(b"c/") and value}
        return {int(value.split(b'"format":')[1][:1]) for value in last.values()}

    def is_whole(self, turns: int) -> None:
        checker.each_event_has_one_outcome(self.events.sent, self.outputs.metrics)
        assert set(self.outputs.outcomes.values()) == {"replied"}
        for conversation in _CONVERSATIONS:
            state = view_conversation(self.settings, conversation).state
            assert state is not None
            assert state.turns == turns, "a version did not go on from the other's state"


@pytest.mark.timeout(300)
def test_a_roll_and_the_roll_back_lose_nothing(settings_for: SettingsFor, tmp_path: Path) -> None:
    """The former version reads this one's format already: what a release must do before any release writes it."""
    talk = Talk(settings_for(kafka=QUICK))
    former = {"former": _READS_BEFORE_IT_WRITES}
    with WorkerProcess(talk.settings, tmp_path / "a", None, **former) as old:  # type: ignore[arg-type]
        talk.round()
        assert talk.formats() == {1}
        with WorkerProcess(talk.settings, tmp_path / "b", None) as new:
            talk.taken(1, 2)
            talk.round()
            assert talk.formats() == {1, 2}, "both serve side by side"
            old.terminate()
            assert old.exit_code() == ExitCode.FINE
            talk.round()
            assert talk.formats() == {2}
            with WorkerProcess(talk.settings, tmp_path / "a", None, **former):  # type: ignore[arg-type]
                talk.taken(2, 3)
                new.terminate()
                assert new.exit_code() == ExitCode.FINE
                talk.round()
                assert talk.formats() == {1}
    talk.is_whole(turns=4)
    talk.outputs.close()


@pytest.mark.timeout(300)
def test_a_version_that_does_not_know_the_format_ends_and_costs_no_event(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    """However often it is started again: no event is held guilty of it."""
    talk = Talk(settings_for(kafka=QUICK))
    with WorkerProcess(talk.settings, tmp_path / "b", None) as new:
        talk.round()
        new.terminate()
        assert new.exit_code() == ExitCode.FINE
    for conversation in _CONVERSATIONS:
        talk.events.say(conversation)
    for _ in range(3):
        with WorkerProcess(talk.settings, tmp_path / "a", None, former=_KNOWS_NO_OTHER) as old:
            eventually(lambda old=old: not old.is_alive, _S)  # type: ignore[misc]
            assert old.exit_code() == ExitCode.FINDINGS
            assert "SW-S001" in old.log
    with WorkerProcess(talk.settings, tmp_path / "b", None):
        talk.round()
    talk.is_whole(turns=3)
    talk.outputs.close()
