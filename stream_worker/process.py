"""A worker process: what `run` builds, starts and ends.

The order at the start: metrics and probes answer first; then the transactional
producer ends what a predecessor left open, for others may be waiting for it;
then the models are loaded, for as long as that takes: until then it is
`/startupz` that waits, and no beat is expected. Only when the engine is warm
does the worker join the group.
"""

import secrets
import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import structlog

from stream_worker import __version__
from stream_worker.assembly import Parts, assemble
from stream_worker.bot.bots import Bots
from stream_worker.bot.loader import load_bots
from stream_worker.cache import cache_folder
from stream_worker.calls.http import HttpCaller
from stream_worker.calls.io_thread import IoThread
from stream_worker.client_metrics import ClientMetrics
from stream_worker.clock import Clock, SystemClock
from stream_worker.connection import Connection
from stream_worker.conversation.store import RocksStore
from stream_worker.declarations import declare_bots, declare_settings, declare_topic, declared
from stream_worker.errors import Code, Fatal, Missing, StreamWorkerError, frames, raised
from stream_worker.fatal_errors import FatalErrors
from stream_worker.garbage import collect_seldom
from stream_worker.inbox import ThreadInbox
from stream_worker.inference.device import DeviceThread
from stream_worker.kafka.edge import Identity, KafkaEdge, identity
from stream_worker.loading import check_features, context_tokens, load
from stream_worker.observability.health import HealthBoard, HealthServer
from stream_worker.observability.logs import configure_logs
from stream_worker.observability.metric_table import Label, Loop, Metric
from stream_worker.observability.metrics import Metrics
from stream_worker.reloading import BotReloader
from stream_worker.reporter import Reporter
from stream_worker.settings import Settings
from stream_worker.settings.loader import settings_hash
from stream_worker.worker import Watchdogs, Worker

if TYPE_CHECKING:
    from stream_worker.tracing import Tracing

_LOAD_S = 1_800.0
_CLOSE_S = 2.0


class DeviceWatchdog:
    """Ends the process when the device has work and shows no sign of life."""

    def __init__(self, engine: DeviceThread, clock: Clock, stall_ms: int) -> None:
        self._engine = engine
        self._clock = clock
        self._stall_s = stall_ms / 1000

    def check(self) -> None:
        if not self._engine.alive:
            raise Fatal(Code.DEVICE_STALLED, "the device thread has ended: see the log for its error")
        silent = self._clock.monotonic() - self._engine.stats().beat
        if silent > self._stall_s:
            raise Fatal(
                Code.DEVICE_STALLED,
                f"the device thread showed no sign of life for {silent:.0f} s (engine.device_stall_ms)",
            )


def run_worker(
    settings: Settings,
    *,
    adopt_group: bool = False,
    progress: Callable[[str], None],
    on_start: Callable[[int], None] = lambda _: None,
) -> None:
    """Runs a worker until SIGTERM or SIGINT; a second signal ends the process at once.

    `on_start` is told the port of metrics and probes. Raises Misconfigured, Missing or Fatal.
    """
    clock = SystemClock()
    bots = load_bots(settings)
    metrics = Metrics(declared(bots, settings))
    declare_settings(settings, metrics)
    configure_logs(settings.observability, lambda level: metrics.count(Metric.LOG_MESSAGES, level))
    board = HealthBoard(clock)
    with HealthServer(settings.observability.host, settings.observability.port, board, metrics.registry) as server:
        on_start(server.port)
        who = identity(settings, settings.device.replace(":", ""), secrets.token_hex(4))
        fatal_errors = FatalErrors.of(settings, who.transactional_id)
        for code, count in fatal_errors.counts().items():
            metrics.count(Metric.FATAL_ERRORS, code, amount=count)
        try:
            _serve(settings, bots, metrics, board, clock, who, adopt_group=adopt_group, progress=progress)
        except Fatal as error:
            fatal_errors.add(error.code)
            raise


def _serve(
    settings: Settings,
    bots: Bots,
    metrics: Metrics,
    board: HealthBoard,
    clock: Clock,
    who: Identity,
    *,
    adopt_group: bool,
    progress: Callable[[str], None],
) -> None:
    inbox = ThreadInbox()
    edge = KafkaEdge(settings, who, lambda: board.renew(Loop.WORKER), ClientMetrics(metrics).tell)
    connection = Connection(edge, clock)
    connection.open()
    declare_topic(settings, metrics)
    loading = load(settings, bots.all, cache_folder("models"), clock, progress)
    io = IoThread(clock, lambda: board.beat(Loop.IO))
    device = DeviceThread(loading.models, inbox.put, clock)
    device.wait_ready(_LOAD_S)
    engine = loading.engine(device, io, inbox.put)
    check_features(bots.all, engine.capabilities)
    board.loaded()
    metrics.declare(Label.MODEL, [engine.capabilities.model])
    settings_digest = settings_hash(settings)
    metrics.build_info(
        version=__version__,
        settings_hash=settings_digest,
        bot=",".join(f"{bot.name}@{bot.version}" for bot in bots.all),
        model=engine.capabilities.model,
    )
    store = RocksStore(settings.conversation.state_dir / settings.application_id / who.transactional_id, clock)
    tracing = _tracing(settings, engine.capabilities.model, who.transactional_id)
    worker = assemble(
        settings,
        Parts(
            edge=edge,
            connection=connection,
            store=store,
            engine=engine,
            inbox=inbox,
            caller=HttpCaller(settings.calls, io, inbox.put, clock),
            prompter=loading.prompter(context_tokens(engine)),
            bots=bots,
            observer=Reporter(settings, metrics, board, engine, clock, tracing),
            watchdog=Watchdogs(DeviceWatchdog(device, clock, settings.engine.device_stall_ms), io),
            clock=clock,
            settings_hash=settings_digest,
            adopt_group=adopt_group,
            between_ticks=BotReloader(
                settings,
                bots,
                metrics,
                clock,
                adopted=lambda new: declare_bots(new, metrics),
                fits=lambda new: check_features(new, engine.capabilities),
            ),
        ),
    )
    collect_seldom()
    _stop_on_signal(lambda: _stop(worker, board))
    try:
        _run(worker)
    finally:
        store.close()
        engine.close(_CLOSE_S)
        io.close(_CLOSE_S)
        if tracing is not None:
            tracing.close()


def _run(worker: Worker) -> None:
    """The thread's top. Of an error that is not ours Python would print the message, which may quote a text."""
    try:
        worker.run()
    except StreamWorkerError:
        raise
    except Exception as error:
        structlog.get_logger().error("the worker failed", raised=raised(error), frames=frames(error))
        raise Fatal(Code.WORKER_FAILED, f"the worker ended with {raised(error)}: the log has the whole way") from error


def _tracing(settings: Settings, model: str, client_id: str) -> "Tracing | None":
    """Imported only where it is on. Raises Missing without the extra `otel`."""
    if not settings.traces.enabled:
        return None
    try:
        from stream_worker.tracing import Tracing
    except ModuleNotFoundError as error:
        raise Missing(
            Code.EXTRA_MISSING, f"traces.enabled needs OpenTelemetry ({error.name}): pip install 'stream-worker[otel]'"
        ) from error
    return Tracing(settings, model, client_id=client_id)


def _stop(worker: Worker, board: HealthBoard) -> None:
    board.stopping = True
    worker.stop()


def _stop_on_signal(stop: Callable[[], None]) -> None:
    """The first signal drains; a second one ends the process at once, as safe as kill -9."""

    def handle(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
