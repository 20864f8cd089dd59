"""`demo` on a terminal ends with Ctrl-C, whatever it is at: exit code 130, no traceback, nothing left running."""

import os
import pty
import shutil
import signal
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from select import select

import pytest

from stream_worker.cache import cache_folder
from stream_worker.golden.heads import ensure_heads
from stream_worker.settings.understanding import UnderstandingSettings
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]
#: Guards against a test that hangs; how long it takes is in docs/benchmarks.md.
_START_S = 240.0
_END_S = 60.0
_PROMPT = "you\x1b[0m "


class Terminal:
    """The demo on a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "KAFKA_BOOTSTRAP_SERVERS"}
        # Rich writes what a person would see, whatever terminal the tests run on.
        environment |= {"XDG_CACHE_HOME": str(folder), "PYTHONPATH": str(ROOT), "TERM": "xterm"}
        self._shown = bytearray()
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, "-m", "stream_worker", "demo"], environment)

    @property
    def shown(self) -> str:
        return self._shown.decode(errors="replace")

    def shows(self, text: str) -> bool:
        self._read()
        return text in self.shown

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def close(self) -> None:
        os.close(self._terminal)

    def exit_code(self) -> int:
        """Waits for its end, which must come."""
        eventually(self._has_ended, _END_S)
        return self._code

    def _has_ended(self) -> bool:
        self._read()
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self._code = os.waitstatus_to_exitcode(status)
        return bool(pid)

    def _read(self) -> None:
        try:
            while select([self._terminal], [], [], 0)[0] and (piece := os.read(self._terminal, 65_536)):
                self._shown += piece
        except OSError:
            return  # the other end is closed: it has ended


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demo_bot: Path) -> Path:
    """A cache of the tests' own, but for what is dear to make again."""
    folder = tmp_path_factory.mktemp("demo-cache")
    demo = folder / "stream-worker" / "demo"
    demo.mkdir(parents=True)
    for name in ("kafka", "models", "native"):
        (folder / "stream-worker" / name).symlink_to(cache_folder(name))
    examples = Path(str(files("stream_worker") / "templates" / "demo" / "nlu.yml"))

    def learnt(_: list[str]) -> None:
        shutil.copytree(demo_bot.parent / "heads", demo / "heads")

    ensure_heads(demo / "heads", examples, UnderstandingSettings().encoder or "", lambda _: None, learnt)
    return folder


def starts_the_broker(terminal: Terminal) -> bool:
    return terminal.shows("Starting Apache Kafka")


def loads_the_model(terminal: Terminal) -> bool:
    return terminal.shows("Starting the worker")


def waits_for_a_message(terminal: Terminal) -> bool:
    return terminal.shows(_PROMPT)


def answers(terminal: Terminal) -> bool:
    """A text that is being generated is shown before its evidence."""
    if not terminal.shows(_PROMPT):
        return False
    if not terminal.shows("a long story"):
        terminal.type("Tell me a long story about the sea\n")
    return bool(terminal.shown.partition("bot\x1b[0m ")[2])


@pytest.mark.parametrize("moment", [starts_the_broker, loads_the_model, waits_for_a_message, answers])
def test_ctrl_c_ends_the_demo(moment: Callable[[Terminal], bool], folder: Path) -> None:
    terminal = Terminal(folder)
    eventually(lambda: moment(terminal), _START_S)
    terminal.type("\x03")
    assert terminal.exit_code() == 130, terminal.shown
    assert "Traceback" not in terminal.shown
    assert left_running(folder) == []
    terminal.close()


def kill_nine(terminal: Terminal) -> None:
    os.kill(terminal.pid, signal.SIGKILL)


@pytest.mark.parametrize(("moment", "end"), [(starts_the_broker, Terminal.close), (loads_the_model, kill_nine)])
def test_a_closed_terminal_and_kill_nine_leave_nothing_running(
    moment: Callable[[Terminal], bool], end: Callable[[Terminal], None], folder: Path
) -> None:
    terminal = Terminal(folder)
    eventually(lambda: moment(terminal), _START_S)
    assert left_running(folder)
    end(terminal)
    eventually(lambda: left_running(folder) == [], _END_S)
    os.waitpid(terminal.pid, 0)


def left_running(folder: Path) -> list[str]:
    """The demo's processes, by the variable that all of them inherit: broker, guard, worker, console."""
    return [each.parent.name for each in Path("/proc").glob("[0-9]*/environ") if _names(each, folder)]


def _names(environ: Path, folder: Path) -> bool:
    try:
        return f"XDG_CACHE_HOME={folder}\0".encode() in environ.read_bytes()
    except OSError:
        return False  # ended meanwhile, or another user's
