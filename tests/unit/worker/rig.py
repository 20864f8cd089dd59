"""Whole workers on the in-memory edge, in one thread, on a clock moved by hand.

Nothing of the worker is replaced: only the edge (shipped, in memory), the
engine (shipped, scripted, run inline) and the clock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from stream_worker.assembly import Parts, assemble
from stream_worker.bot.bot import Bot, Fallback, IntentRule, ModelReply
from stream_worker.bot.bots import ANY, Binding, Bots
from stream_worker.caller import Caller
from stream_worker.calls.inline import InlineIo
from stream_worker.clock import Clock, ManualClock
from stream_worker.connection import Connection
from stream_worker.contracts.decode import Arrival
from stream_worker.conversation.store import MemoryStore, Store
from stream_worker.embedded.memory_broker import MemoryBroker
from stream_worker.embedded.memory_edge import MemoryEdge
from stream_worker.errors import PartitionRefused, StreamWorkerError
from stream_worker.inbox import InlineInbox
from stream_worker.inference.device import InlineDevice, Models
from stream_worker.inference.scripted import ScriptedStepper, derived_reply
from stream_worker.inference.stepper import Encoder, Stepper
from stream_worker.loading import Loading, MakeGenerator
from stream_worker.observer import Observer, Snapshot
from stream_worker.orders import Call, Generate, Result, TurnRef
from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome
from stream_worker.record import Headers, Record
from stream_worker.report import ReplyReport, Report
from stream_worker.settings import Settings
from stream_worker.stages.prompter import MessagePrompter, Prompter
from stream_worker.turn import Turn
from stream_worker.worker import Worker

MODEL_BOT = Bot(
    name="test",
    version="1",
    languages=("en",),
    system="",
    understanding=None,
    intents={},
    fills_slots=frozenset(),
    fallback=Fallback(rule=IntentRule(reply=ModelReply())),
    error_reply="Sorry.",
)


def settings(**changes: Any) -> Settings:
    """Four partitions, quick commits, nothing that takes wall time."""
    base: dict[str, Any] = {
        "application_id": "test",
        "topics": {"partitions": 4, "replication_factor": 1, "min_insync_replicas": 1},
        "kafka": {"start_at": "earliest", "commit_interval_ms": 20},
    }
    for section, values in changes.items():
        base[section] = {**base.get(section, {}), **values} if isinstance(values, dict) else values
    return Settings(**base)


@dataclass(slots=True)
class Journal:
    """An observer that keeps what it is told."""

    outcomes: list[tuple[Outcome, int]] = field(default_factory=list)
    finished: list[FinishReason] = field(default_factory=list)
    dead: list[tuple[DeadLetterReason, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    refusals: list[PartitionRefused] = field(default_factory=list)
    aborts: list[str] = field(default_factory=list)
    failures: list[DeadLetterReason] = field(default_factory=list)
    calls: list[tuple[str, str | None]] = field(default_factory=list)
    restored: list[int] = field(default_factory=list)
    """Records of the changelog that were read, of each partition that was taken."""
    replaced: int = 0
    late: int = 0
    deltas_dropped: int = 0
    snapshots: list[Snapshot] = field(default_factory=list)

    def beat(self) -> None: ...

    def snapshot(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def settled(self, outcome: Outcome, events: int) -> None:
        self.outcomes.append((outcome, events))

    def dead_lettered(self, reason: DeadLetterReason, partition: int, offset: int, detail: str) -> None:
        self.dead.append((reason, detail))

    def polled(self, seconds: float) -> None: ...

    def replied(self, reply: ReplyReport) -> None:
        self.finished.append(reply.finish_reason)

    def unanswered(self, records: Sequence[Record], arrivals: Sequence[Arrival], report: Report) -> None: ...

    def first_delta(self, turn: Turn, seconds: float) -> None: ...

    def attempt_failed(self, turn: Turn, reason: DeadLetterReason, message: str) -> None:
        self.failures.append(reason)

    def engine_away(self, message: str) -> None: ...

    def handed_over(self, to_human: bool) -> None: ...

    def late_result(self) -> None:
        self.late += 1

    def delta_dropped(self) -> None:
        self.deltas_dropped += 1

    def command_emitted(self, name: str) -> None: ...

    def called(self, turn: Turn, name: str, seconds: float, failure: str | None) -> None:
        self.calls.append((name, failure))

    def taken(self, partition: int, term: int, seconds: float, records: int) -> None:
        self.restored.append(records)

    def released(self, partitions: int, lost: bool) -> None: ...

    def refused(self, error: PartitionRefused) -> None:
        self.refusals.append(error)

    def warned(self, message: str, partition: int) -> None:
        self.warnings.append(message)

    def committed(self, seconds: float, records: int) -> None: ...

    def aborted(self, cause: str) -> None:
        self.aborts.append(cause)

    def clients_replaced(self, error: StreamWorkerError) -> None:
        self.replaced += 1


class NoCaller:
    """Of bots that call nobody."""

    def submit(self, order: Call) -> None:
        raise AssertionError(f"a call of {order.name}")

    def cancel(self, ref: TurnRef, calls: int) -> None: ...


class _NoWatchdog:
    def check(self) -> None: ...


@dataclass(slots=True)
class RunningWorker:
    worker: Worker
    edge: MemoryEdge
    journal: Journal
    io: InlineIo


class Rig:
    """One broker, any number of workers. `others` are bots of channels of their own.

    `generator` makes who generates in the device's place, as with a model server.
    """

    def __init__(
        self,
        configured: Settings | None = None,
        *,
        bot: Bot = MODEL_BOT,
        others: Sequence[tuple[str, Bot]] = (),
        reply: Callable[[Generate], str] = derived_reply,
        seconds: Callable[[Generate], float] = lambda _: 0.01,
        wrap: Callable[[Stepper], Stepper] = lambda stepper: stepper,
        prompter: Prompter | None = None,
        listening: Callable[[InlineDevice, ManualClock], Observer] | None = None,
        caller: Callable[[Callable[[Result], None]], Caller] = lambda _: NoCaller(),
        encoder: Encoder | None = None,
        generator: MakeGenerator | None = None,
    ) -> None:
        """`listening` makes the observer, instead of a journal."""
        self.settings = configured or settings()
        self.clock = ManualClock()
        self.broker = MemoryBroker.for_settings(self.settings, self.clock)
        self._bots = Bots((*(Binding(ANY, channel, other) for channel, other in others), Binding(ANY, ANY, bot)))
        self._wrap = wrap
        self._prompter = prompter or MessagePrompter()
        self.stepper: Callable[[Clock], Stepper] = lambda clock: ScriptedStepper(clock, seconds=seconds, reply=reply)
        self._listening = listening
        self._caller = caller
        self._encoder = encoder
        self._generator = generator
        self.workers: dict[str, RunningWorker] = {}
        self.stores: dict[str, Store] = {}
        """Local copies that outlive their workers; of names that are not in it a worker starts without one."""

    def start(self, name: str = "w0", *, heard: bool = True) -> RunningWorker:
        """A worker; one that is not `heard` tells nobody but its journal."""
        edge = MemoryEdge(self.broker, self.settings, self.clock, transactional_id=f"test-{name}")
        connection = Connection(edge, self.clock)
        connection.open()
        inbox, io, journal = InlineInbox(self.clock.advance), InlineIo(self.clock), Journal()
        models = Models(
            stepper=lambda: self._wrap(self.stepper(self.clock)),
            encoder=lambda: self._encoder,
        )
        device = InlineDevice(models, inbox.put, self.clock)
        inbox.pumped += [device, io]
        loading = Loading(models, lambda _: self._prompter, self._generator)
        worker = assemble(
            self.settings,
            Parts(
                edge=edge,
                connection=connection,
                store=self.stores.get(name) or MemoryStore(self.clock),
                engine=loading.engine(device, io, inbox.put),
                inbox=inbox,
                caller=self._caller(inbox.put),
                prompter=self._prompter,
                bots=self._bots,
                observer=self._listening(device, self.clock) if self._listening and heard else journal,
                watchdog=_NoWatchdog(),
                clock=self.clock,
                settings_hash="settings",
            ),
        )
        worker.join()
        self.workers[name] = RunningWorker(worker, edge, journal, io)
        return self.workers[name]

    def kill(self, name: str = "w0") -> None:
        """As with kill -9: nothing is given back, the broker learns of it by the session's end."""
        del self.workers[name]

    def stop(self, name: str = "w0") -> None:
        self.workers.pop(name).worker.shut_down()

    def run(self, seconds: float, step: float = 0.005) -> None:
        """Lets all workers tick, in turn, for this long."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            for running in list(self.workers.values()):
                running.worker.tick()
            self.clock.advance(step)

    def send(
        self, conversation: str = "c-1", *, headers: Headers = (), key: bytes | None = None, **fields: Any
    ) -> Record:
        """Appends an event; a message of a user unless `type` says otherwise."""
        event: dict[str, Any] = {"conversation_id": conversation, **fields}
        if event.get("type", "message") in ("message", "edit", "deletion", "reaction"):
            event.setdefault("sender", {"id": "u-1"})
        return self.broker.append(
            self.settings.topics.events,
            conversation.encode() if key is None else key,
            orjson.dumps(event),
            headers,
        )

    def published(self, topic: str) -> list[dict[str, Any]]:
        """Committed values of an output topic, in order within each partition."""
        return [orjson.loads(record.value or b"null") for record in self.broker.read_committed(topic)]

    @property
    def changelog(self) -> list[tuple[bytes, bytes | None]]:
        """Committed keys and values, in order within each partition."""
        return [(each.key or b"", each.value) for each in self.broker.read_committed(self.settings.changelog)]

    @property
    def replies(self) -> list[dict[str, Any]]:
        return self.published(self.settings.topics.replies)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return self.published(self.settings.topics.metrics)

    @property
    def outcomes(self) -> dict[str, list[str]]:
        """Every outcome of each event."""
        found: dict[str, list[str]] = {}
        for metric in self.metrics:
            found.setdefault(metric["event_id"], []).append(metric["outcome"])
        return found
