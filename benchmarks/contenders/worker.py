"""Our worker, whole, in this process: a template bot, or the scripted engine with the wait that a message names."""

import argparse
import signal
import sys
import time
from pathlib import Path

import orjson
from steps import StepSampler

from stream_worker.assembly import Parts, assemble
from stream_worker.bot.bot import Bot, Fallback, IntentRule, ModelReply, TemplateReply
from stream_worker.bot.bots import ANY, Binding, Bots
from stream_worker.bot.phrase import Phrase, Template
from stream_worker.clock import SystemClock
from stream_worker.connection import Connection
from stream_worker.conversation.store import RocksStore
from stream_worker.garbage import collect_seldom
from stream_worker.inbox import ThreadInbox
from stream_worker.inference.device import DeviceThread, Models
from stream_worker.inference.scripted import ScriptedStepper
from stream_worker.kafka.edge import Identity, KafkaEdge
from stream_worker.observability.health import HealthBoard
from stream_worker.observability.logs import configure_logs
from stream_worker.observability.metric_table import Label, Metric
from stream_worker.observability.metrics import Metrics
from stream_worker.orders import Call, Generate, TurnRef
from stream_worker.outcome import Outcome
from stream_worker.reporter import OUT_OF_SCOPE, Reporter
from stream_worker.settings import Settings
from stream_worker.stages.prompter import MessagePrompter
from stream_worker.tokens import PromptMessages
from stream_worker.worker import Worker


class Counting(Reporter):
    """The reporter of production, which also says when the first and the last message were handled."""

    seen = 0

    def taken(self, partition: int, term: int, seconds: float, records: int) -> None:
        print(f"serving {time.time()}", flush=True)
        super().taken(partition, term, seconds, records)

    def settled(self, outcome: Outcome, events: int) -> None:
        if not self.seen:
            print(f"first {time.time()}", flush=True)
        self.seen += events
        super().settled(outcome, events)


class _NoCaller:
    def submit(self, order: Call) -> None:
        raise RuntimeError("this bot calls nobody")

    def cancel(self, ref: TurnRef, calls: int) -> None: ...


class _NoWatchdog:
    def check(self) -> None: ...


def bot(kind: str) -> Bot:
    reply = TemplateReply(Phrase(Template("Hello.", None))) if kind == "template" else ModelReply()
    return Bot(
        name="bench",
        version="1",
        languages=("en",),
        system="",
        understanding=None,
        intents={},
        fills_slots=frozenset(),
        fallback=Fallback(rule=IntentRule(reply=reply)),
        error_reply="",
        max_messages=0 if kind == "template" else 4,
    )


def _named_wait(order: Generate) -> float:
    """The seconds that the message names, or the first of several that were joined; the reply has one word."""
    assert isinstance(order.prompt, PromptMessages)
    return float(order.prompt.messages[-1].text.split()[0])


def build(settings: Settings, kind: str, folder: Path) -> tuple[Worker, Counting]:
    """A worker that has joined its group."""
    clock, inbox = SystemClock(), ThreadInbox()
    edge = KafkaEdge(settings, Identity(transactional_id=settings.application_id, member="0"), lambda: None)
    connection = Connection(edge, clock)
    connection.open()
    models = Models(
        stepper=lambda: ScriptedStepper(clock, seconds=_named_wait, reply=lambda _: "Hello."), encoder=lambda: None
    )
    engine = DeviceThread(models, inbox.put, clock)
    engine.wait_ready(10)
    metrics = Metrics({Label.INTENT: (OUT_OF_SCOPE,), Label.LANGUAGE: ("en",), Label.TOPIC: (settings.topics.events,)})
    configure_logs(settings.observability, lambda level: metrics.count(Metric.LOG_MESSAGES, level))
    observer = Counting(settings, metrics, HealthBoard(clock), engine, clock)
    worker = assemble(
        settings,
        Parts(
            edge=edge,
            connection=connection,
            store=RocksStore(folder),
            engine=engine,
            inbox=inbox,
            caller=_NoCaller(),
            prompter=MessagePrompter(),
            bots=Bots((Binding(ANY, ANY, bot(kind)),)),
            observer=observer,
            watchdog=_NoWatchdog(),
            clock=clock,
            settings_hash="bench",
        ),
    )
    collect_seldom()
    worker.join()
    return worker, observer


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--settings", required=True, help="JSON")
    options.add_argument("--kind", choices=["template", "scripted"], required=True)
    options.add_argument("--folder", type=Path, required=True)
    options.add_argument("--count", type=int, required=True)
    given = options.parse_args()
    worker, observer = build(Settings.model_validate_json(given.settings), given.kind, given.folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    while not observer.seen:
        worker.tick()
    sampler = StepSampler()
    try:
        while observer.seen < given.count:
            worker.tick()
        worker.shut_down()
        print("done", flush=True)
    finally:
        print(f"steps {orjson.dumps(sampler.shares()).decode()}", flush=True)


if __name__ == "__main__":
    main()
