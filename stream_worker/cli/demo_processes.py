"""The demo's child processes: the broker, the worker and the console; all of them end with it."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from stream_worker.embedded.broker import EmbeddedBroker

_AGAIN_S = 1.0
_STOP_S = 2.5
_BROKER_STOP_S = 1.5
"""Together less than the five seconds that somebody waits after Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Child:
    process: subprocess.Popen[bytes]

    def run(self, *arguments: str) -> None:
        """Tells it its command. One that has ended by itself is seen by who waits for it."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{shlex.join(arguments)}\n".encode())
            self.process.stdin.flush()


class Children:
    """Whatever was started is stopped on the way out: worker and console side by side, the broker after them."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._broker: EmbeddedBroker | None = None

    def __enter__(self) -> Self:
        # A closed terminal and a supervisor end the demo as Ctrl-C does.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, _interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        # A second Ctrl-C must not leave anything running.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._stop()

    def start_broker(self, folder: Path, progress: Callable[[str], None]) -> str:
        """A real Kafka over this folder; its address."""
        from stream_worker.embedded.broker import EmbeddedBroker

        broker = EmbeddedBroker(folder, progress=progress)
        broker.start()
        self._broker = broker
        return broker.bootstrap_servers

    def start(self, log: Path, *imports: str) -> Child:
        """A process that imports these modules, and waits for its command; what it says goes into `log`."""
        from stream_worker.settings.environment import PREFIX

        # Its settings are in a file, all of them: variables of another worker are not meant for it.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "stream_worker.cli.demo_child", *imports],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                # Its own session: Ctrl-C reaches the parent alone, which then stops it in order.
                start_new_session=True,
            )
        child = Child(process)
        self._children.append(child)
        return child

    def _stop(self) -> None:
        """As a supervisor would: SIGTERM, and kill -9 for what takes too long; neither loses anything."""
        deadline = time.monotonic() + _STOP_S
        processes = [child.process for child in self._children]
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdin is not None
            process.stdin.close()
        if self._broker is not None:
            self._broker.stop(_BROKER_STOP_S)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    # Raised within a callback of the interpreter (an import has many) it would be lost: it comes until it is heard.
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
    raise KeyboardInterrupt
