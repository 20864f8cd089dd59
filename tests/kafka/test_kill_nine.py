"""Three workers are killed again and again, as by power cuts: nothing is lost, answered twice or out of order."""

import random
import time
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

import pytest

from stream_worker.settings import Settings
from tests.eventually import eventually
from tests.kafka.cluster import QUICK
from tests.kafka.conftest import SettingsFor
from tests.kafka.event_writer import EventWriter
from tests.kafka.processes import WorkerProcess
from tests.kafka.sabotage import Bug
from tests.kafka.topic_reader import TopicReader
from tests.replay import Replay
from tests.unit.worker.rig import MODEL_BOT

_SEED = 9
_PARTITIONS = 8
_CONVERSATIONS = 60
_EVENTS_A_SECOND = 60
_SETTLES_S = 200.0
"""A machine that is busy lets two kills meet the same turns: then a slow worker runs dozens of them one by one."""
#: Uneven work: a word of one worker takes ten times as long as another's.
_SECONDS_PER_TOKEN = {"w-0": 0.01, "w-1": 0.03, "w-2": 0.1}


class _Crew:
    """Workers that are replaced as soon as they are killed."""

    def __init__(self, settings: Settings, folder: Path, bug: Bug | None) -> None:
        self._settings = settings
        self._folder = folder
        self._bug = bug
        self._workers = {instance: self._started(instance) for instance in _SECONDS_PER_TOKEN}

    def replace(self, instance: str) -> None:
        self._workers[instance].kill()
        self._workers[instance] = self._started(instance)

    def end(self) -> dict[str, int]:
        """Asks all to end; their exit codes."""
        for worker in self._workers.values():
            worker.terminate()
        return {instance: worker.exit_code() for instance, worker in self._workers.items()}

    def kill(self) -> None:
        for worker in self._workers.values():
            worker.kill()

    def _started(self, instance: str) -> WorkerProcess:
        seconds = _SECONDS_PER_TOKEN[instance]
        return WorkerProcess(
            self._settings, self._folder / instance, instance, seconds_per_token=seconds, bug=self._bug
        )


def delivery_survives_kills(
    settings: Settings, folder: Path, *, events: int, kills: int, bug: Bug | None = None
) -> None:
    """`events` are written at a steady pace, and meanwhile `kills` times a worker is killed and started again."""
    chance = random.Random(_SEED)
    writer, outputs = EventWriter(settings), TopicReader(settings)
    with ExitStack() as stack:
        stack.callback(outputs.close)
        crew = _Crew(settings, folder, bug)
        stack.callback(crew.kill)
        eventually(lambda: len(outputs.ledgers) == _PARTITIONS)
        started = time.monotonic()
        # In turn, so that each of them has served for a while when it is killed.
        victims = cycle(_SECONDS_PER_TOKEN)
        kill_after = {events * (number + 1) // (kills + 1) for number in range(kills)}
        for number in range(events):
            writer.say(f"c-{chance.randrange(_CONVERSATIONS)}", f"text {number}")
            if number in kill_after:
                crew.replace(next(victims))
            # The pace of those who write is a part of what is tried here.
            time.sleep(max(0.0, started + number / _EVENTS_A_SECOND - time.monotonic()))
        eventually(lambda: outputs.outcomes.keys() >= set(writer.sent), _SETTLES_S)
        assert crew.end() == dict.fromkeys(_SECONDS_PER_TOKEN, 0)
        assert sum(ledger.term for ledger in outputs.ledgers.values()) > _PARTITIONS + kills, "the kills hit nobody"
        outputs.delivery().check(Replay(bot=MODEL_BOT, dedup_window=settings.conversation.dedup_window))
        # Meanwhile a mailbox may get full, and merge.
        assert set(outputs.outcomes.values()) <= {"replied", "merged"}


def _settings(settings_for: SettingsFor) -> Settings:
    """A session that outlasts a restart; no window of remembered ids, so that only the ledger tells what is settled."""
    return settings_for(
        partitions=_PARTITIONS,
        kafka=QUICK | {"session_timeout_ms": 6_000, "commit_interval_ms": 100},
        conversation={"dedup_window": 0},
    )


def test_kills_lose_nothing_repeat_nothing_and_reorder_nothing(settings_for: SettingsFor, tmp_path: Path) -> None:
    delivery_survives_kills(_settings(settings_for), tmp_path, events=1_500, kills=8)


def test_the_ledger_ignored_is_found_after_kills(settings_for: SettingsFor, tmp_path: Path) -> None:
    """Whether a kill hits a worker with answers behind an open event is chance; that the ledger goes back is not."""
    settings = _settings(settings_for)
    with pytest.raises(AssertionError, match=r"settled twice|went back|open again"):
        delivery_survives_kills(settings, tmp_path, events=300, kills=3, bug=Bug.LEDGER_IGNORED)
