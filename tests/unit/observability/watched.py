"""A whole worker that reports to metrics: in memory, on a clock moved by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client.exposition import generate_latest

from stream_worker.bot.bot import Bot, Emit, Fallback, HttpCall, IntentRule, ModelReply
from stream_worker.bot.phrase import Template
from stream_worker.clock import ManualClock
from stream_worker.contracts.internal import state_key
from stream_worker.inference.device import InlineDevice
from stream_worker.inference.stepper import Stepper
from stream_worker.kafka.murmur2 import partition_of
from stream_worker.observability.health import HealthBoard
from stream_worker.observability.metric_table import PREFIX, TABLE, Kind, Label, Metric
from stream_worker.observability.metrics import Metrics
from stream_worker.orders import Call, Called, Ended, Failed, Fault, Generated, Result, TurnRef
from stream_worker.outcome import DeadLetterReason, FallbackReason
from stream_worker.record import Outgoing
from stream_worker.reporter import Reporter
from stream_worker.settings import Settings
from stream_worker.tokens import Usage
from tests.unit.worker.rig import MODEL_BOT, Rig, settings
from tests.unit.worker.test_faults import Failing

TRACE = "0af7651916cd43dd8448eb211c80319c"

_CALL = HttpCall(
    name="lamp",
    url=Template("https://lamp.example/", None),
    parameters={},
    headers={},
    timeout_ms=1_000,
    retries=0,
    take={},
    error=None,
)
COMMANDING = Bot(
    name="shop",
    version="1",
    languages=("en",),
    system="",
    understanding=None,
    intents={},
    fills_slots=frozenset(),
    fallback=Fallback(rule=IntentRule(reply=ModelReply(), calls=(_CALL,), emit=(Emit("lamp.switch", {}),))),
    error_reply="Sorry.",
)


class Prompt:
    """A caller that has each answer at once."""

    def __init__(self, report: Callable[[Result], None]) -> None:
        self._report = report

    def submit(self, order: Call) -> None:
        self._report(Called(ref=order.ref, number=order.number, result={"lamp": "on"}, seconds=0.1))

    def cancel(self, ref: TurnRef, calls: int) -> None: ...


class Odd(Failing):
    """A stepper with a cache, that fails on request, and reports once of a turn that nobody knows."""

    kv_tokens = 3
    kv_capacity_tokens = 6
    evictions = (4, 1)
    fallbacks = (FallbackReason.CPU,)
    stray = True

    def step(self) -> list[Result]:
        stray, self.stray = self.stray, False
        unknown = TurnRef(0, 99, "nobody's", 1)
        late: Result = Failed(ref=unknown, fault=Fault.EVENT, reason=DeadLetterReason.TURN_TIMEOUT, message="late")
        results = [_cached(each) if isinstance(each, Generated) else each for each in super().step()]
        return results + ([late, Ended(ref=unknown)] if stray else [])


def _cached(result: Generated) -> Generated:
    return Generated(
        ref=result.ref,
        text=result.text,
        ids=result.ids,
        finish_reason=result.finish_reason,
        usage=Usage(prompt=5, cached=3, cached_replied=1, generated=result.usage.generated),
        queued_seconds=result.queued_seconds,
        first_token_seconds=result.first_token_seconds,
        seconds=result.seconds,
    )


@dataclass
class Watched:
    """A rig whose workers report to `metrics`, and the greatest value that each series ever had."""

    settings: Settings
    bot: Bot = MODEL_BOT
    seconds_per_word: float = 0.01
    metrics: Metrics = field(init=False)
    board: HealthBoard = field(init=False)
    engines: list[Odd] = field(default_factory=list)
    greatest: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.metrics = Metrics(
            {
                Label.MODEL: ["scripted"],
                Label.LANGUAGE: ["en"],
                Label.INTENT: ["out_of_scope"],
                Label.COMMAND: ["lamp.switch"],
                Label.CALL: ["lamp"],
                Label.TOPIC: [self.settings.topics.events],
                Label.PARTITION: [str(each) for each in range(self.settings.topics.partitions)],
            }
        )
        self.rig = Rig(
            self.settings,
            bot=self.bot,
            seconds=lambda _: self.seconds_per_word,
            wrap=self._wrap,
            listening=self._listen,
            caller=Prompt,
        )

    def _wrap(self, inner: Stepper) -> Stepper:
        self.engines.append(Odd(inner))
        return self.engines[-1]

    def _listen(self, engine: InlineDevice, clock: ManualClock) -> Reporter:
        self.board = HealthBoard(clock)
        return Reporter(self.settings, self.metrics, self.board, engine, clock)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.1)):
            self.rig.run(0.1)
            for name, value in self.series().items():
                self.greatest[name] = max(value, self.greatest.get(name, value))

    def series(self) -> dict[str, float]:
        lines = generate_latest(self.metrics.registry).decode().splitlines()
        found = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in found}

    def value(self, name: Metric, **labels: str) -> float | None:
        suffix = "_count" if TABLE[name].kind is Kind.HISTOGRAM else ""
        return self.metrics.registry.get_sample_value(f"{PREFIX}_{name}{suffix}", labels)


def limits(**admission: object) -> Settings:
    patient = {"max_aborts_in_a_row": 1_000}
    return settings(admission={"retry_backoff_ms": 20, "max_attempts": 2, **admission}, kafka=patient)


def everything_happens() -> Watched:
    watched = Watched(limits(upper_mark_events=10, lower_mark_events=5, pause_after_ms=100), COMMANDING)
    rig = watched.rig
    topics = rig.settings.topics
    unreadable = rig.send("c-broken", message_id="m-broken", text="hello").partition
    rig.broker.store(Outgoing(rig.settings.changelog, state_key("c-broken"), b"{broken", partition=unreadable))
    sound = next(name for name in map(str, range(99)) if partition_of(name.encode(), 4) != unreadable)
    # A transaction that its owner never ended holds the restore of this partition up.
    dead = rig.broker.producer("dead", timeout_s=3.0)
    dead.begin()
    dead.send(Outgoing(rig.settings.changelog, state_key("c-broken"), b"{}", partition=unreadable))
    running = rig.start()
    watched.run(5.0)
    rig.send(
        sound, message_id="m-1", text="hello", headers=(("traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode()),)
    )
    watched.run(0.5)
    rig.broker.append(topics.events, sound.encode(), b"not JSON", ())
    rig.send(sound, type="handoff")
    rig.send(sound, type="handback")
    watched.run(0.5)
    watched.engines[0].fault = Fault.EVENT
    rig.send(sound, message_id="m-2", text="hello")
    watched.run(0.5)
    watched.engines[0].fault = Fault.ENGINE
    rig.send(sound, message_id="m-3", text="hello")
    watched.run(2.0)
    watched.engines[0].fault = None
    rig.broker.refuse(topics.deltas, lambda _: True)
    watched.run(2.0)
    for number in range(200):
        rig.send(sound, message_id=f"n-{number}", text="hello")
    watched.run(3.0)
    for number in range(5):
        rig.send(sound, message_id=f"o-{number}", text="hello")
    watched.run(0.1)
    rig.broker.down = True
    watched.run(2.0)
    rig.broker.down = False
    watched.run(2.0)
    running.edge.break_clients()
    rig.start("w1")
    watched.run(10.0)
    return watched
