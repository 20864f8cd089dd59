"""Whole workers on the real broker, ticked in turn by the test's own thread.

Nothing of a worker is replaced but the model: the engine is the scripted one, run inline, on the machine's clock or on
one that the test moves by hand.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from stream_worker.assembly import Parts, assemble
from stream_worker.bot.bot import Bot
from stream_worker.bot.bots import ANY, Binding, Bots
from stream_worker.clock import Clock, SystemClock
from stream_worker.connection import Connection
from stream_worker.conversation.store import MemoryStore, Store
from stream_worker.inbox import InlineInbox
from stream_worker.inference.device import InlineDevice, Models
from stream_worker.inference.scripted import ScriptedStepper, derived_reply
from stream_worker.inference.stepper import Stepper
from stream_worker.kafka.edge import Identity, KafkaEdge
from stream_worker.orders import Generate
from stream_worker.settings import Settings
from stream_worker.stages.prompter import MessagePrompter
from stream_worker.worker import Worker
from tests.kafka.event_writer import EventWriter
from tests.kafka.topic_reader import TopicReader
from tests.unit.worker.rig import MODEL_BOT, Journal, NoCaller

T = TypeVar("T")

_DEADLINE_S = 20.0
_START_S = 120.0
"""A hang guard: a worker process starts within this on a machine that is busy with other things."""
_LOOK_EVERY_S = 0.05

#: Groups and commits as quick as a broker allows, for `settings_for(kafka=QUICK)`.
QUICK = {"session_timeout_ms": 3_000, "heartbeat_interval_ms": 100, "commit_interval_ms": 20}

MakeStepper = Callable[[Clock], Stepper]


def scripted(
    reply: Callable[[Generate], str] = derived_reply, seconds: Callable[[Generate], float] = lambda _: 0.0
) -> MakeStepper:
    """An engine that answers `reply`, with so many seconds a word."""
    return lambda clock: ScriptedStepper(clock, seconds=seconds, reply=reply)


class _NoWatchdog:
    def check(self) -> None: ...


@dataclass(slots=True)
class LocalWorker:
    worker: Worker
    edge: KafkaEdge
    engine: InlineDevice
    journal: Journal

    @property
    def phases(self) -> list[str]:
        """Of its partitions, as of the last snapshot."""
        return list(self.journal.snapshots[-1].phases.values()) if self.journal.snapshots else []


class Cluster:
    """The workers of one application, who writes its events, and who reads what it publishes."""

    def __init__(
        self,
        settings: Settings,
        stepper: MakeStepper | None = None,
        engine_clock: Clock | None = None,
        *,
        bot: Bot = MODEL_BOT,
    ) -> None:
        self.settings = settings
        self.events = EventWriter(settings)
        self.outputs = TopicReader(settings)
        self._stepper = stepper or scripted()
        self._bot = bot
        self._clock = SystemClock()
        self._engine_clock = engine_clock or self._clock
        self.workers: dict[str, LocalWorker] = {}
        self._edges: list[KafkaEdge] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for edge in self._edges:
            edge.close()
        self.outputs.close()

    def start(self, name: str = "a", configured: Settings | None = None, store: Store | None = None) -> LocalWorker:
        settings = configured or self.settings
        edge = KafkaEdge(
            settings, Identity(transactional_id=f"{settings.application_id}-{name}", member=None), lambda: None
        )
        self._edges.append(edge)
        connection = Connection(edge, self._clock)
        connection.open()
        inbox, journal = InlineInbox(time.sleep), Journal()
        models = Models(stepper=lambda: self._stepper(self._engine_clock), encoder=lambda: None)
        device = InlineDevice(models, inbox.put, self._engine_clock)
        inbox.pumped.append(device)
        worker = assemble(
            settings,
            Parts(
                edge=edge,
                connection=connection,
                store=store or MemoryStore(),
                engine=device,
                inbox=inbox,
                caller=NoCaller(),
                prompter=MessagePrompter(),
                bots=Bots((Binding(ANY, ANY, self._bot),)),
                observer=journal,
                watchdog=_NoWatchdog(),
                clock=self._clock,
                settings_hash="settings",
            ),
        )
        worker.join()
        self.workers[name] = LocalWorker(worker, edge, device, journal)
        return self.workers[name]

    def stop(self, name: str = "a") -> None:
        self.workers.pop(name).worker.shut_down()

    def crash(self, name: str = "a") -> None:
        """Ends a worker's clients without a word to the worker: nothing is committed or given back."""
        self.workers.pop(name).edge.close()

    def tick(self) -> None:
        for running in list(self.workers.values()):
            running.worker.tick()

    def run_for(self, seconds: float) -> None:
        """For what must not happen: long enough that it would have."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.tick()

    def run_until(self, condition: Callable[[], T], what: str, deadline_s: float = _DEADLINE_S) -> T:
        """Lets the workers go on until it holds; raises AssertionError with `what` when it takes too long."""
        deadline = time.monotonic() + deadline_s
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {deadline_s} s: {what}"
            self.run_for(_LOOK_EVERY_S)
        return value

    def run_until_settled(self, deadline_s: float = _DEADLINE_S) -> None:
        """Until every event that was sent has an outcome."""
        expected = set(self.events.sent)
        self.run_until(lambda: expected <= self.outputs.outcomes.keys(), "every event is settled", deadline_s)

    def run_until_committed(self) -> None:
        """Until the ledgers have no open event, of an input without control records."""
        self.run_until(lambda: self._settled_in_ledgers() == len(self.events.sent), "every event is committed")

    def _settled_in_ledgers(self) -> int:
        return sum(ledger.next - len(ledger.open) for ledger in self.outputs.ledgers.values())

    def run_until_term(self, term: int, *partitions: int) -> None:
        """Until these partitions have been taken so many times."""
        self.run_until(
            lambda: all(self._term(partition) >= term for partition in partitions),
            f"partitions {partitions} are taken with term {term}",
            _START_S,
        )

    def _term(self, partition: int) -> int:
        ledger = self.outputs.ledgers.get(partition)
        return 0 if ledger is None else ledger.term
