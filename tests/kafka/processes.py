"""Workers as processes of their own: killed, stopped and continued from outside."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from stream_worker.settings import Settings
from tests.eventually import eventually
from tests.kafka.sabotage import Bug

_ROOT = Path(__file__).parents[2]
_END_S = 20.0

_BOT = """
bot: test
fallback: {reply: model}
"""


class Freeze(StrEnum):
    """At which moment of its first transaction with a reply it stops itself."""

    QUEUED = "--freeze"
    SENT = "--freeze-sent"


class Former(StrEnum):
    """A version of before."""

    WRITES_FORMAT_1 = "--writes-format-1"
    READS_FORMAT_1 = "--reads-format-1"
    """Only that; it ends at a later one."""


class WorkerProcess:
    """`stream-worker run` with the scripted engine; with a planted bug where one is named."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        instance: str | None,
        *,
        seconds_per_token: float = 0.0,
        bug: Bug | None = None,
        freezes: Freeze | None = None,
        former: Iterable[Former] = (),
        fragile: bool = False,
        port: int = 0,
    ) -> None:
        """`freezes`: it stops itself in its first transaction with a reply, until `thaw`.

        `fragile`: the text `poison` kills it, and its engine hangs for ever at `tar`.
        """
        folder.mkdir(exist_ok=True)
        (folder / "bot.yaml").write_text(_BOT)
        file = folder / "stream-worker.yaml"
        file.write_bytes(orjson.dumps(_tree(settings, folder, instance, seconds_per_token, port)))
        staged = [*([] if freezes is None else [freezes.value]), *former, *([] if bug is None else [bug.value])]
        program = ["tests.kafka.sabotaged_worker", *staged] if staged or fragile else ["stream_worker"]
        self._log = folder / "log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *program, "run", "--config", str(file)], cwd=_ROOT, stdout=log, stderr=log
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def resident_megabytes(self) -> float:
        """Memory that is in RAM, as Linux tells it."""
        status = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1_024

    @property
    def is_frozen(self) -> bool:
        how = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, how) is not None

    def tell_stacks(self) -> str:
        """The log, once the process has written there where its threads stand; only of a `fragile` one."""
        if self.is_alive:
            os.kill(self._process.pid, signal.SIGUSR1)
            eventually(lambda: "most recent call first" in self.log or not self.is_alive, _END_S)
        return self.log

    def thaw(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def terminate(self) -> None:
        self._process.terminate()

    def exit_code(self) -> int:
        """Waits for the end."""
        return self._process.wait(_END_S)

    def kill(self) -> None:
        """As a power cut would end it."""
        if self.is_alive:
            self._process.kill()
        self._process.wait(_END_S)


def _tree(
    settings: Settings, folder: Path, instance: str | None, seconds_per_token: float, port: int
) -> dict[str, Any]:
    tree: dict[str, Any] = settings.model_dump(mode="json", exclude_defaults=True)
    return tree | {
        "instance": instance,
        "bots": [{"file": str(folder / "bot.yaml")}],
        "engine": {**tree.get("engine", {}), "kind": "scripted", "scripted_seconds_per_token": seconds_per_token},
        "understanding": {"encoder": None},
        "conversation": {**tree.get("conversation", {}), "state_dir": str(folder / "state")},
        "observability": {"host": "127.0.0.1", "port": port},
    }
