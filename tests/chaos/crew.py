"""The workers of a run, and who starts them again: what ends by itself is started anew, as an orchestrator would."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from stream_worker.kafka.group_admin import members_of
from stream_worker.kafka.topic_admin import connect
from stream_worker.settings import Settings
from tests.chaos.history import History
from tests.chaos.switches import Switch
from tests.chaos.understanding import write_bot
from tests.eventually import eventually
from tests.kafka.sabotage import Bug

_ROOT = Path(__file__).parents[2]
_END_S = 30.0
_RESTART_S = 0.5


@dataclass(slots=True)
class Member:
    """One worker's place: its process comes and goes."""

    name: str
    folder: Path
    bootstrap_servers: str
    is_static: bool
    process: subprocess.Popen[bytes] | None = None
    switches: dict[str, int] = field(default_factory=dict)
    due: float = 0.0
    """When it is to be started; infinite while it is to stay away."""
    starts: int = 0

    @property
    def is_up(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def turn(self, switch: Switch, value: int) -> None:
        self.switches[switch.value] = value
        # In one piece: the worker may read at any moment.
        fresh = self.folder / "switches.new"
        fresh.write_bytes(orjson.dumps(self.switches))
        fresh.rename(self.folder / "switches.json")

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.is_up:
            os.kill(self.process.pid, number)


class Crew:
    def __init__(self, settings: Settings, folder: Path, history: History, bug: Bug | None) -> None:
        self._settings = settings
        self._folder = folder
        self._history = history
        self._bug = bug
        self.members: dict[str, Member] = {}

    def add(self, name: str, bootstrap_servers: str, *, is_static: bool = True) -> None:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        member = Member(name, folder, bootstrap_servers, is_static)
        write_bot(folder)
        self._configure(member)
        self.members[name] = member
        self._start(member)

    def remove(self, name: str) -> None:
        """Asks a worker to leave for good."""
        self.members[name].due = float("inf")
        self.members[name].signal(signal.SIGTERM)

    @property
    def up(self) -> list[Member]:
        return [member for member in self.members.values() if member.is_up]

    def tend(self) -> None:
        """Starts again whoever has ended."""
        now = time.monotonic()
        for member in self.members.values():
            if member.process is not None and (code := member.process.poll()) is not None:
                self._history.note("ended", worker=member.name, code=code)
                member.process = None
                for switch in (Switch.ENGINE_DIES, Switch.DIES_IN_COMMIT, Switch.DIES_IN_RESTORE):
                    member.turn(switch, 0)
                member.due = max(member.due, now + _RESTART_S)
            if member.process is None and now >= member.due:
                self._start(member)

    @contextmanager
    def standing_still(self, but: Collection[str]) -> Iterator[None]:
        """All of them, but those that somebody else holds."""
        still = [member for member in self.up if member.name not in but]
        for member in still:
            member.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for member in still:
                member.signal(signal.SIGCONT)

    def change_protocol(self, protocol: str) -> None:
        """Ends everybody, and starts them again with this group protocol once the group has no member."""
        self._history.note("protocol", protocol=protocol, codes=self.end())
        admin, group = connect(self._settings), self._settings.application_id
        eventually(lambda: not members_of(admin, group), _END_S)
        kafka = self._settings.kafka.model_copy(update={"group_protocol": protocol})
        self._settings = self._settings.model_copy(update={"kafka": kafka})
        for member in self.members.values():
            self._configure(member)

    def heal(self) -> None:
        for member in self.members.values():
            for switch in Switch:
                member.turn(switch, 0)
            member.signal(signal.SIGCONT)
            if member.is_static:
                member.due = 0.0

    def end(self) -> dict[str, int]:
        """Asks all to end; their exit codes. Who does not end in time is killed, its stacks in its log."""
        leaving = self.up
        for member in leaving:
            member.signal(signal.SIGTERM)
        deadline = time.monotonic() + _END_S
        while self.up and time.monotonic() < deadline:
            time.sleep(0.05)
        self.show_stacks()
        self.kill()
        return {member.name: member.process.wait(_END_S) for member in leaving if member.process is not None}

    def show_stacks(self) -> None:
        """Whoever is up writes what its threads do into its log."""
        for member in self.up:
            member.signal(signal.SIGUSR1)

    def kill(self) -> None:
        for member in self.up:
            member.signal(signal.SIGKILL)
            assert member.process is not None
            member.process.wait(_END_S)

    def _configure(self, member: Member) -> None:
        (member.folder / "stream-worker.yaml").write_bytes(orjson.dumps(self._tree(member)))

    def _start(self, member: Member) -> None:
        member.starts += 1
        bug = [] if self._bug is None else [self._bug.value]
        command = [sys.executable, "-m", "tests.chaos.worker", *bug, "run"]
        command += ["--config", str(member.folder / "stream-worker.yaml")]
        environment = os.environ | {"CHAOS_SWITCHES": str(member.folder / "switches.json"), "OMP_NUM_THREADS": "1"}
        with member.log.open("ab") as log:
            member.process = subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=log, stderr=log)
        self._history.note("started", worker=member.name, number=member.starts)

    def _tree(self, member: Member) -> dict[str, object]:
        tree = self._settings.model_dump(mode="json", exclude_defaults=True)
        tree["kafka"] = tree["kafka"] | {"bootstrap_servers": member.bootstrap_servers}
        return tree | {
            "instance": member.name if member.is_static else None,
            "bots": [{"file": str(member.folder / "bot.yaml")}],
            "engine": {"kind": "scripted", "device_stall_ms": 4_000},
            "understanding": {"encoder": "scripted"},
            "conversation": tree.get("conversation", {}) | {"state_dir": str(member.state)},
            "observability": {"host": "127.0.0.1", "port": 0},
        }


def damage(folder: Path) -> int:
    """Overwrites the middle of every file of a local store; how many."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size > 64]
    for file in files:
        with file.open("r+b") as content:
            content.seek(file.stat().st_size // 2)
            content.write(b"\xde\xad\xbe\xef" * 8)
    return len(files)


def delete(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
