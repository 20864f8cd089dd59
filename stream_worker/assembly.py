"""Puts a worker together, by hand, from what it is given. The only place that knows all its parts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stream_worker import __version__
from stream_worker.admission.pressure import FULL_SPEED
from stream_worker.assignment import Assignment
from stream_worker.bot.bots import Bots
from stream_worker.caller import Caller
from stream_worker.clock import Clock
from stream_worker.committer import Committer
from stream_worker.connection import Connection
from stream_worker.conversation.store import Store
from stream_worker.inbox import Inbox
from stream_worker.inference.engine import Engine
from stream_worker.intake import Intake
from stream_worker.kafka.outbox import Outbox
from stream_worker.kafka.protocols import Edge
from stream_worker.kafka.reconcile import Names
from stream_worker.observer import Observer
from stream_worker.previews import Previews
from stream_worker.publication import Makers, Publication
from stream_worker.settings import Settings
from stream_worker.settler import Settler
from stream_worker.stages.prompter import Prompter
from stream_worker.stocktaking import Stocktaking
from stream_worker.suspicion import Caution
from stream_worker.taking import Taking
from stream_worker.turns import Turns
from stream_worker.worker import Watchdog, Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a worker is given: everything that touches the world, and the bots."""

    edge: Edge
    connection: Connection
    store: Store
    engine: Engine
    inbox: Inbox
    caller: Caller
    prompter: Prompter
    bots: Bots
    observer: Observer
    watchdog: Watchdog
    clock: Clock
    settings_hash: str
    adopt_group: bool = False
    between_ticks: Callable[[], None] = lambda: None
    """What is looked at once a tick: bot files that changed."""


def assemble(settings: Settings, parts: Parts) -> Worker:
    """A worker over an open connection; `join` or `run` sets it going."""
    limits = parts.edge.max_record_bytes()
    assignments: dict[int, Assignment] = {}
    outbox = Outbox()
    makers = Makers(__version__, parts.settings_hash, parts.engine.capabilities.model)
    publication = Publication(settings, makers, limits)
    settler = Settler(settings, outbox, publication, parts.observer)
    caution = Caution(assignments)
    turns = Turns(
        settings,
        assignments=assignments,
        caution=caution,
        bots=parts.bots,
        engine=parts.engine,
        caller=parts.caller,
        prompter=parts.prompter,
        settler=settler,
        previews=Previews(settings.outputs, publication, parts.connection, parts.observer),
        observer=parts.observer,
        clock=parts.clock,
    )
    intake = Intake(
        settings,
        assignments=assignments,
        bots=parts.bots,
        turns=turns,
        caution=caution,
        settler=settler,
        observer=parts.observer,
    )
    committer = Committer(
        settings,
        assignments=assignments,
        outbox=outbox,
        settler=settler,
        intake=intake,
        observer=parts.observer,
        clock=parts.clock,
        max_state_bytes=min(settings.conversation.max_state_bytes, _room(limits, settings.changelog)),
    )
    taking = Taking(
        assignments=assignments,
        store=parts.store,
        observer=parts.observer,
        from_earliest=settings.kafka.start_at == "earliest",
        adopt_group=parts.adopt_group,
        clock=parts.clock,
        keeps_deletions_ms=parts.edge.keeps_deletions_ms(),
        most_in_hand=settings.admission.upper_mark_events + FULL_SPEED,
        names=Names(
            application_id=settings.application_id,
            topic=settings.topics.events,
            bootstrap_servers=settings.kafka.bootstrap_servers,
        ),
    )
    return Worker(
        settings,
        assignments=assignments,
        connection=parts.connection,
        taking=taking,
        intake=intake,
        turns=turns,
        committer=committer,
        outbox=outbox,
        stocktaking=Stocktaking(
            assignments=assignments, turns=turns, outbox=outbox, store=parts.store, clock=parts.clock
        ),
        store=parts.store,
        inbox=parts.inbox,
        observer=parts.observer,
        watchdog=parts.watchdog,
        between_ticks=parts.between_ticks,
        clock=parts.clock,
    )


_KEY_ROOM_BYTES = 2_048


def _room(limits: Mapping[str, int], topic: str) -> int:
    """What a value may have in a topic, its key and framing taken off."""
    return limits[topic] - _KEY_ROOM_BYTES if topic in limits else 1 << 30
