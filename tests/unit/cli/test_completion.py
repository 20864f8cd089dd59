"""Real shells complete commands, options and topics, whatever the broker does."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = "stream-worker"
_ANSWER_S = 60.0

#: What is typed before the tabulator, and what must be offered. Nothing listens at the broker of the settings.
TYPED = [
    ("", "conversation"),
    ("conversation ", "explain"),
    ("dlq re", "redrive"),
    ("tail --li", "--limit"),
    ("tail --topic shop.chat.re", "shop.chat.replies"),
    ("tail --topic shop.chat.", "shop.chat.metrics"),
]
SETTINGS = "kafka: {bootstrap_servers: '127.0.0.1:9'}\noutputs: {prefix: shop.}\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with settings, and the completion of each shell where its first line says that it goes."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "stream-worker.yaml").write_text(SETTINGS)
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run(
            [sys.executable, "-m", "stream_worker", "completion", shell],
            cwd=folder,
            env=_environment(folder),
            capture_output=True,
            text=True,
            check=True,
        )
        (folder / f"completion.{shell}").write_text(done.stdout)
    return folder


def _environment(home: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(home), "TERM": "dumb", "NO_COLOR": "1"}


def _needs(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    return found


def _ran(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=home, env=_environment(home), capture_output=True, text=True, timeout=_ANSWER_S, check=False
    )


@pytest.mark.parametrize(("typed", "expected"), TYPED)
def test_bash_completes(typed: str, expected: str, home: Path) -> None:
    words = f"{PROGRAM} {typed}".split(" ")
    script = (
        f"source {home}/completion.bash\n"
        f'function=$(complete -p {PROGRAM} | sed "s/.* -F \\([^ ]*\\) .*/\\1/")\n'
        f"COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}\n"
        f'$function {PROGRAM}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = _ran([_needs("bash"), "--norc", "-c", script], home)
    assert expected in done.stdout.split(), done.stderr


@pytest.mark.parametrize(("typed", "expected"), TYPED)
def test_fish_completes(typed: str, expected: str, home: Path) -> None:
    script = f"source {home}/completion.fish; complete --do-complete '{PROGRAM} {typed}'"
    done = _ran([_needs("fish"), "--no-config", "-c", script], home)
    assert expected in re.split(r"\s", done.stdout), done.stdout + done.stderr


def test_zsh_completes(home: Path) -> None:
    """Zsh completes only for who types: at a terminal, which is what this is."""
    with Terminal([_needs("zsh"), "-f", "-i"], home) as terminal:
        terminal.type("PS1='ready> '; unsetopt auto_menu; autoload -Uz compinit; compinit -u\n")
        terminal.type(f"source {home}/completion.zsh; compdef _stream_worker_completion {PROGRAM}; echo is''up\n")
        terminal.until("isup")
        for typed, expected in TYPED:
            # Away with the line before.
            terminal.type(f"\x15{PROGRAM} {typed}\t")
            terminal.until(expected)


class Terminal:
    """A program at a terminal of its own."""

    def __init__(self, command: list[str], home: Path) -> None:
        self._master, slave = pty.openpty()
        self._child = subprocess.Popen(
            command, cwd=home, env=_environment(home), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self._seen = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait(_ANSWER_S)
        os.close(self._master)

    def type(self, keys: str) -> None:
        self._seen = ""
        os.write(self._master, keys.encode())

    def until(self, expected: str) -> None:
        """Reads until it is on the screen."""
        deadline = time.monotonic() + _ANSWER_S
        while expected not in self._seen:
            assert time.monotonic() < deadline, f"{expected!r} is not in {self._seen!r}"
            self._seen += "".join(self._read())

    def _read(self) -> Iterator[str]:
        ready, _, _ = select.select([self._master], [], [], 0.2)
        if ready:
            yield os.read(self._master, 65_536).decode(errors="replace")


def test_behind_a_misspelt_command_nothing_is_offered(home: Path) -> None:
    environment = _environment(home) | {
        "_STREAM_WORKER_COMPLETE": "complete_bash",
        "COMP_WORDS": f"{PROGRAM} tial --to",
        "COMP_CWORD": "2",
    }
    command = [str(Path(sys.executable).parent / PROGRAM)]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_what_cannot_be_read_completes_by_the_usual_names(home: Path, tmp_path: Path) -> None:
    (tmp_path / "stream-worker.yaml").write_text("kafkaa: 1\n")
    environment = _environment(home) | {
        "_STREAM_WORKER_COMPLETE": "complete_bash",
        "COMP_WORDS": f"{PROGRAM} tail --topic chat.r",
        "COMP_CWORD": "3",
    }
    command = [str(Path(sys.executable).parent / PROGRAM)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["chat.replies"], "")
