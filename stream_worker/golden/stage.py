"""A whole worker in memory, on a clock moved by hand: what golden conversations and users' tests play on.

Nothing of the worker is replaced but what touches the world: the edge to Kafka
(in memory), calls (answered from a file), and the clock. The engine runs
inline, the scripted one or a real model.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from stream_worker.assembly import Parts, assemble
from stream_worker.bot.bots import Bots
from stream_worker.clock import ManualClock
from stream_worker.connection import Connection
from stream_worker.contracts.internal import state_key
from stream_worker.conversation.state import Holder, load_state
from stream_worker.conversation.store import MemoryStore
from stream_worker.embedded.memory_broker import MemoryBroker
from stream_worker.embedded.memory_edge import MemoryEdge
from stream_worker.golden.actions import ScriptedCaller
from stream_worker.golden.quiet import Quiet
from stream_worker.inbox import InlineInbox
from stream_worker.inference.device import InlineDevice, Models
from stream_worker.inference.scripted import ScriptedStepper, derived_reply
from stream_worker.inference.stepper import Encoder, Stepper
from stream_worker.loading import Loading, context_tokens
from stream_worker.orders import Call, Generate
from stream_worker.settings import Settings
from stream_worker.stages.prompter import MessagePrompter, Prompter
from stream_worker.worker import Worker

_STEP_S = 0.005
_LONGEST_STEP_S = 1.0
_RESTS_AFTER_S = 600.0
"""A longer wait is spent without a worker, as in a deployment that restarts now and then."""
_MOST_S = 600.0
"""Within this time, of the stage's clock, everything that was sent must have settled."""

Fields = Mapping[str, Any]


class _NoWatchdog:
    def check(self) -> None: ...


class NotSettled(Exception):
    """Something that was sent came to no end."""


class Stage:
    """One worker and its topics. `model` is a real one, loaded; without it the scripted engine answers."""

    def __init__(
        self,
        settings: Settings,
        bots: Bots,
        encoder: Callable[[], Encoder | None],
        model: Loading | None = None,
        seconds_per_word: float = 0.0,
    ) -> None:
        self.settings = settings
        self.clock = ManualClock()
        self.broker = MemoryBroker.for_settings(settings, self.clock)
        self._bots = bots
        self._inbox = InlineInbox(self.clock.advance)
        self.caller = ScriptedCaller(self._inbox.put)
        self._script: list[str] = []
        self._seconds_per_word = seconds_per_word
        models = Models(stepper=model.models.stepper if model else self._scripted, encoder=encoder)
        self._device = InlineDevice(models, self._inbox.put, self.clock)
        self._inbox.pumped.append(self._device)
        self._prompter: Prompter = model.prompter(context_tokens(self._device)) if model else MessagePrompter()
        self.observer = Quiet()
        self._sent = 0
        self._number = 0
        self._read: Counter[str] = Counter()
        self._worker = self._started()
        self._play(0.5)

    def script(self, replies: Sequence[str]) -> None:
        """What the scripted engine says next, in turn; then texts made of the prompts."""
        self._script = list(replies)

    def send(self, conversation: str, fields: Fields) -> str:
        """Writes an event; returns its id."""
        self._number += 1
        event_id = fields.get("message_id") or f"{conversation}/{self._number}"
        event = {"conversation_id": conversation, **fields, "message_id": event_id}
        tenant = f"{event['tenant']}/" if self.settings.admission.tenants else ""
        key = f"{tenant}{conversation}".encode()
        self.broker.append(self.settings.topics.events, key, orjson.dumps(event), ())
        self._sent += 1
        return str(event_id)

    def settle(self) -> None:
        """Until everything that was sent has settled. Raises NotSettled."""
        end = self.clock.monotonic() + _MOST_S
        while (left := self._sent - self.observer.events) > 0:
            if self.clock.monotonic() >= end:
                raise NotSettled(f"{left} events came to no end within {_MOST_S:.0f} s")
            self._tick(_STEP_S)

    def wait(self, seconds: float) -> None:
        """Lets time pass, with a worker that works meanwhile."""
        if seconds > _RESTS_AFTER_S:
            self.settle()
            self._worker.shut_down()
            self.clock.advance(seconds)
            self._worker = self._started()
            self._play(0.5)
        else:
            self._play(seconds)

    def fresh(self, topic: str) -> list[dict[str, Any]]:
        """Committed values of an output topic that were not asked for before."""
        records = self.broker.read_committed(self.settings.output_topic(topic))[self._read[topic] :]
        self._read[topic] += len(records)
        return [orjson.loads(record.value or b"null") for record in records]

    def is_with_human(self, conversation: str) -> bool:
        """Whether a human has the conversation, by its last committed state."""
        key = state_key(conversation)
        for record in reversed(self.broker.read_committed(self.settings.changelog)):
            if record.key == key and record.value is not None:
                return load_state(record.value).holder is Holder.HUMAN
        return False

    @property
    def calls(self) -> list[Call]:
        return self.caller.made

    def _started(self) -> Worker:
        edge = MemoryEdge(self.broker, self.settings, self.clock, transactional_id="golden")
        connection = Connection(edge, self.clock)
        connection.open()
        parts = Parts(
            edge=edge,
            connection=connection,
            store=MemoryStore(),
            engine=self._device,
            inbox=self._inbox,
            caller=self.caller,
            prompter=self._prompter,
            bots=self._bots,
            observer=self.observer,
            watchdog=_NoWatchdog(),
            clock=self.clock,
            settings_hash="golden",
        )
        worker = assemble(self.settings, parts)
        worker.join()
        return worker

    def _play(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        step = min(_LONGEST_STEP_S, max(_STEP_S, seconds / 200))
        while self.clock.monotonic() < end:
            self._tick(step)

    def _tick(self, step: float) -> None:
        self._worker.tick()
        self.clock.advance(step)

    def _scripted(self) -> Stepper:
        return ScriptedStepper(self.clock, seconds=lambda _: self._seconds_per_word, reply=self._reply)

    def _reply(self, order: Generate) -> str:
        return self._script.pop(0) if self._script else derived_reply(order)
