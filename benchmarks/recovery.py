"""How long conversations wait for an answer after a worker has gone.

Two workers share eight partitions. One is killed, or asked to end; right after it a message is sent to each partition,
and what is measured is how long it takes until the last of them has its reply, for a reader of committed records. The
engine is the scripted one, so no model is loaded: what a restarted process needs to start is a part of the figure, and
the load of a model would come on top.

    python benchmarks/recovery.py [--rounds 20] [--only "classic: killed and back" ...]

Sessions and scans are the broker's own defaults where a scenario does not say otherwise. Several applications are
measured at the same time where almost all of the time is waiting.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from confluent_kafka.admin import AdminClient

from stream_worker.embedded.broker import EmbeddedBroker
from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.topic_admin import create
from stream_worker.kafka.topics import topic_table

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness import application, fresh_name, report

from tests.kafka.event_writer import EventWriter, conversation_in
from tests.kafka.processes import Freeze, WorkerProcess
from tests.kafka.topic_reader import TopicReader

_PARTITIONS = 8
_LONGEST_S = 120.0
_CALM_S = 1.0
_LOOK_S = 0.02
_GOES, _STAYS = "w-0", "w-1"
_TAKEN = '"event":"partition taken"'
_RELEASED = r'"event":"partitions released".*"at":"([^"]+)"'
_KAFKAS_OWN = {
    "group.consumer.session.timeout.ms": "45000",
    "group.consumer.heartbeat.interval.ms": "5000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000",
    # A lone node whose session ends as the machine stalls forgets the markers of transactions.
    "broker.session.timeout.ms": "60000",
}
_SHORT_SESSION = _KAFKAS_OWN | {
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.heartbeat.interval.ms": "600",
}


class Group:
    """One application: its workers, who writes to it, and who reads what it answers."""

    def __init__(self, servers: str, protocol: str, folder: Path) -> None:
        name = fresh_name("recovery")
        self.settings = application(servers, name, _PARTITIONS, group_protocol=protocol)
        create(AdminClient(admin_settings(self.settings)), topic_table(self.settings))
        self._folder = folder / name
        self._folder.mkdir()
        self._events, self._outputs = EventWriter(self.settings), TopicReader(self.settings)
        self._conversations = [conversation_in(partition, _PARTITIONS) for partition in range(_PARTITIONS)]
        self._workers: dict[str, WorkerProcess] = {}
        self._taken_before: dict[str, int] = {}

    def start(self, name: str, *, freezes: Freeze | None = None) -> None:
        folder = self._folder / name
        log = folder / "log"
        self._taken_before[name] = log.read_text().count(_TAKEN) if log.exists() else 0
        self._workers[name] = WorkerProcess(self.settings, folder, name, freezes=freezes)

    def share(self, *, first_freezes: bool = False) -> None:
        """Until both workers serve partitions, and all of them are answered."""
        for name in (_GOES, _STAYS):
            if name not in self._workers:
                self.start(name, freezes=Freeze.SENT if first_freezes and name == _GOES else None)
        _until(lambda: all(self._serves(name) for name in self._workers))
        if not first_freezes:
            self.answered()
        time.sleep(_CALM_S)

    def answered(self) -> float:
        """Sends to every partition; when the last reply was seen, in seconds since the epoch."""
        sent = self.say()
        _until(lambda: sent <= self._outputs.reply_texts.keys())
        return time.time()

    def say(self) -> set[str]:
        return {self._events.say(conversation) for conversation in self._conversations}

    def kill(self) -> float:
        self._workers.pop(_GOES).kill()
        return time.time()

    def end(self) -> float:
        """Asks it to leave; when it had let its last partition go, which is the end of its drain."""
        worker = self._workers.pop(_GOES)
        worker.terminate()
        if worker.exit_code() != 0:
            raise RuntimeError(f"a worker ended badly:\n{worker.log}")
        return datetime.fromisoformat(re.findall(_RELEASED, worker.log)[-1]).timestamp()

    def await_frozen(self) -> None:
        self.say()
        _until(lambda: self._workers[_GOES].is_frozen)

    def close(self) -> None:
        for worker in self._workers.values():
            worker.kill()
        self._outputs.close()

    def _serves(self, name: str) -> bool:
        return self._workers[name].log.count(_TAKEN) > self._taken_before[name]


def _killed_and_back(group: Group) -> float:
    group.share()
    gone = group.kill()
    group.start(_GOES)
    return group.answered() - gone


def _killed_for_good(group: Group) -> float:
    group.share()
    gone = group.kill()
    return group.answered() - gone


def _ended(group: Group) -> float:
    """From the end of the drain."""
    group.share()
    gone = group.end()
    return group.answered() - gone


def _killed_in_a_transaction(group: Group) -> float:
    """The transaction stays open, and nobody with its id comes back."""
    group.share(first_freezes=True)
    group.await_frozen()
    gone = group.kill()
    return group.answered() - gone


Round = Callable[[Group], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`at_once`: so many groups are measured at the same time."""

    name: str
    round: Round
    protocol: str = "classic"
    broker: Mapping[str, str] = field(default_factory=lambda: _KAFKAS_OWN)
    at_once: int = 1


SCENARIOS = (
    Scenario(name="classic: killed and back", round=_killed_and_back),
    Scenario(name="classic: killed for good", round=_killed_for_good),
    Scenario(name="classic: ended", round=_ended),
    Scenario(name="classic: killed in a transaction, for good", round=_killed_in_a_transaction, at_once=4),
    *(
        Scenario(name=f"consumer, {session}: {what}", round=each, protocol="consumer", broker=broker, at_once=at_once)
        for session, broker, at_once in (("broker's defaults", _KAFKAS_OWN, 4), ("6 s session", _SHORT_SESSION, 1))
        for what, each in (
            ("killed and back", _killed_and_back),
            ("killed for good", _killed_for_good),
            ("ended", _ended),
        )
    ),
)


def measured(scenario: Scenario, rounds: int, servers: str, folder: Path) -> dict[str, float]:
    """p50 and the longest of so many rounds, in seconds."""

    def one_after_the_other(number: int) -> list[float]:
        group = Group(servers, scenario.protocol, folder)
        try:
            return [scenario.round(group) for _ in range(rounds // at_once + (number < rounds % at_once))]
        finally:
            group.close()

    at_once = min(scenario.at_once, rounds)
    with ThreadPoolExecutor(at_once) as groups:
        found = sorted(seconds for each in groups.map(one_after_the_other, range(at_once)) for seconds in each)
    return {"rounds": len(found), "p50_s": round(found[len(found) // 2], 2), "max_s": round(found[-1], 2)}


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_LONGEST_S:.0f} s")
        time.sleep(_LOOK_S)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--only", nargs="*", default=[], choices=[scenario.name for scenario in SCENARIOS])
    given = options.parse_args()
    wanted = [scenario for scenario in SCENARIOS if not given.only or scenario.name in given.only]
    results: dict[str, object] = {}
    for broker in (_KAFKAS_OWN, _SHORT_SESSION):
        here = [scenario for scenario in wanted if scenario.broker is broker]
        if not here:
            continue
        with (
            tempfile.TemporaryDirectory(prefix="recovery-") as folder,
            EmbeddedBroker(Path(folder) / "broker", properties=broker) as started,
        ):
            for scenario in here:
                found = measured(scenario, given.rounds, started.bootstrap_servers, Path(folder))
                results[scenario.name] = found
                print(f"{scenario.name}: {found}", file=sys.stderr, flush=True)
    report("recovery", results, {})


if __name__ == "__main__":
    main()
