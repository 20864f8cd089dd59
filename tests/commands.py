"""Commands of the CLI in processes that are forked with everything imported: many at once, each with its own output.

What is imported is imported once; a command against a broker that does not answer costs its waiting alone.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_AT_ONCE = 64
_LONGEST_S = 120.0
_IMPORTED = [
    "confluent_kafka.admin",
    "rich.table",
    "stream_worker.cli.app",
    "stream_worker.doctor.examination",
    "stream_worker.process",
    "stream_worker.training.train",
]


def plant_nothing() -> None:
    """For a process of the product as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`stops_after_s` is when one that serves gets its SIGTERM; `plant` breaks something in its process first."""

    arguments: Sequence[str]
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    stops_after_s: float | None = None
    plant: Callable[[], None] = plant_nothing


@dataclass(frozen=True, slots=True)
class Ended:
    """`errors` are the reprs, texts and tracebacks of what ended it, and of all that led to that."""

    command: Command
    code: int | None
    printed: bytes
    errors: bytes


def run_all(commands: Sequence[Command], folder: Path) -> list[Ended]:
    """Runs them side by side; their outputs are kept in `folder`. One that does not end raises TimeoutError."""
    context = get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    waiting, running = list(enumerate(commands))[::-1], dict[int, _Running]()
    ended: dict[int, Ended] = {}
    try:
        while waiting or running:
            while waiting and len(running) < _AT_ONCE:
                number, command = waiting.pop()
                files = folder / f"{number}.out", folder / f"{number}.errors"
                process = context.Process(target=_run, args=(command, *files))
                process.start()
                running[number] = _Running(command, process, *files, time.monotonic())
            wait([each.process.sentinel for each in running.values()], timeout=0.5)
            for number, each in [*running.items()]:
                if each.has_ended():
                    ended[number] = running.pop(number).ended()
    finally:
        for each in running.values():
            each.process.kill()
    return [ended[number] for number in range(len(commands))]


@dataclass(slots=True)
class _Running:
    command: Command
    process: ForkServerProcess
    printed: Path
    errors: Path
    since: float
    told: bool = False

    def has_ended(self) -> bool:
        """Tells one that serves to stop when its time has come."""
        if not self.process.is_alive():
            return True
        lasts, serves = time.monotonic() - self.since, self.command.stops_after_s
        if serves is not None and lasts > serves and not self.told:
            self.process.terminate()
            self.told = True
        if lasts > _LONGEST_S:
            raise TimeoutError(f"{' '.join(self.command.arguments)} did not end: {self.printed.read_bytes()[-1000:]!r}")
        return False

    def ended(self) -> Ended:
        errors = self.errors.read_bytes() if self.errors.exists() else b""
        return Ended(self.command, self.process.exitcode, self.printed.read_bytes(), errors)


def _run(command: Command, printed: Path, errors: Path) -> None:
    out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(command.folder)
    for name in [each for each in os.environ if each.startswith(("STREAM_WORKER", "OTEL_"))]:
        del os.environ[name]
    os.environ.update(command.environ)
    sys.argv = ["stream-worker", *command.arguments]
    command.plant()
    from stream_worker.cli.app import main

    try:
        main()
    except SystemExit as ended:
        errors.write_text(_told(ended.__context__), encoding="utf-8")
        raise
    except BaseException as error:
        errors.write_text(_told(error), encoding="utf-8")
        raise


def _told(error: BaseException | None) -> str:
    lines: list[str] = []
    while error is not None:
        lines += [repr(error), repr(error.args), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(lines)
