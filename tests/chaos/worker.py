"""`stream-worker run` that can be made to fail from outside: `python -m tests.chaos.worker [BUG] run --config FILE`.

What is to fail stands in the file that CHAOS_SWITCHES names, as JSON, and may change at any time. Nothing of the
worker is replaced but where it touches the world: its engine, its local store, its clock, its transactions.
Words in a message, too, make the engine fail: those events are the poison of a run.
"""

import faulthandler
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import orjson
from rocksdict import Rdict

from stream_worker import loading
from stream_worker.cli.app import main
from stream_worker.clock import Clock, SystemClock
from stream_worker.conversation.store import RocksStore
from stream_worker.inference.scripted import Reply, ScriptedStepper, Seconds, derived_reply
from stream_worker.kafka.protocols import Batch, Clients
from stream_worker.kafka.transactions import KafkaTransactions
from stream_worker.orders import Failed, Fault, Generate, Result
from stream_worker.outcome import DeadLetterReason
from stream_worker.taking import Taking
from stream_worker.tokens import PromptMessages
from tests.chaos.switches import CRASHING, HANGING, Switch
from tests.chaos.understanding import ScriptedEncoder
from tests.kafka.sabotage import Bug, plant

_LOOK_EVERY_S = 0.05


class Switches:
    """The file, looked at no more often than makes a difference."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._values: dict[str, int] = {}
        self._due = 0.0

    def __getitem__(self, switch: Switch) -> int:
        """0 where it is off."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _LOOK_EVERY_S
            self._values = orjson.loads(self._file.read_bytes()) if self._file.exists() else {}
        return self._values.get(switch, 0)


def uneven(order: Generate) -> float:
    """Between 1 and 128 ms a word, by the turn: some take a hundred times as long as others."""
    return 0.001 * float(2 ** (int(order.ref.turn_id[:2], 16) % 8))


class FailingStepper(ScriptedStepper):
    """A scripted engine that fails when it is told to."""

    def __init__(
        self,
        clock: Clock,
        *,
        seconds: Seconds,  # here it depends on the turn
        switches: Switches,
        reply: Reply = derived_reply,
    ) -> None:
        super().__init__(clock, seconds=uneven, reply=reply)
        self._switches = switches
        self._refused: list[Result] = []

    def add(self, order: Generate) -> None:
        assert isinstance(order.prompt, PromptMessages)
        said = order.prompt.messages[-1].text
        if CRASHING in said:
            os.kill(os.getpid(), signal.SIGKILL)
        if HANGING in said:
            time.sleep(3_600)
        if self._switches[Switch.ENGINE_AWAY]:
            reason = DeadLetterReason.ATTEMPTS_EXHAUSTED
            self._refused.append(Failed(ref=order.ref, fault=Fault.ENGINE, reason=reason, message="it is away"))
        else:
            super().add(order)

    def seconds_until_ready(self) -> float:
        return 0.0 if self._refused else min(0.1, super().seconds_until_ready())

    def step(self) -> list[Result]:
        if self._switches[Switch.ENGINE_DIES]:
            raise RuntimeError("the device fell off the bus")
        while self._switches[Switch.ENGINE_HANGS]:
            time.sleep(_LOOK_EVERY_S)
        refused, self._refused = self._refused, []
        return refused + super().step()


class DiskThatFills:
    """A local database that has no room when it is told so, in the words of the real one."""

    def __init__(self, inner: Rdict, switches: Switches) -> None:
        self._inner = inner
        self._switches = switches

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def write(self, *arguments: object) -> None:
        if self._switches[Switch.DISK_FULL]:
            raise Exception("IO error: No space left on device: While appending to file")
        self._inner.write(*arguments)  # type: ignore[arg-type]


def fail_on_demand(switches: Switches) -> None:
    """Patches what touches the world."""
    vars(loading)["ScriptedStepper"] = partial(FailingStepper, switches=switches)
    vars(loading)["_encoder"] = lambda settings, heads: ScriptedEncoder()

    now_ms = SystemClock.now_ms
    SystemClock.now_ms = lambda self: now_ms(self) + switches[Switch.CLOCK_MS]  # type: ignore[method-assign]

    opened = RocksStore._open
    RocksStore._open = lambda self: DiskThatFills(opened(self), switches)  # type: ignore[assignment, method-assign, return-value]

    send = KafkaTransactions._send

    def send_and_die(self: KafkaTransactions, batch: Batch, deadline: float) -> None:
        send(self, batch, deadline)
        if switches[Switch.DIES_IN_COMMIT] and batch.records:
            os.kill(os.getpid(), signal.SIGKILL)

    KafkaTransactions._send = send_and_die  # type: ignore[method-assign]

    advance = Taking.advance

    def advance_and_die(self: Taking, clients: Clients) -> None:
        advance(self, clients)
        if switches[Switch.DIES_IN_RESTORE] and any(each.restore.records for each in self._assignments.values()):
            os.kill(os.getpid(), signal.SIGKILL)

    Taking.advance = advance_and_die  # type: ignore[method-assign]


if __name__ == "__main__":
    faulthandler.enable()  # a client that ends the process says where it was called
    faulthandler.register(signal.SIGUSR1)
    # First, so that what fails on demand fails in the bug's place, too.
    if sys.argv[1] != "run":
        plant(Bug(sys.argv.pop(1)))
    fail_on_demand(Switches(Path(os.environ["CHAOS_SWITCHES"])))
    main()
