"""The machine that the worker runs on: Python, client library, limits, processor, memory, disk."""

import os
import resource
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from stream_worker.doctor.finding import Finding, Group, Says
from stream_worker.inference.memory import kernel_says, usable_bytes
from stream_worker.settings import Settings

_SAYS = Says(Group.RUNTIME)
_LEAST_FILES = 4_096
_LEAST_CLIENT = (2, 15)
_FREE_BYTES_WANTED = 1 << 30
_FREE_BYTES_NEEDED = 100 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFacts:
    """`lacking` are features that librdkafka was built without; `state_folder_problem` is empty for a sound one."""

    python: tuple[int, int]
    client_version: str
    lacking: tuple[str, ...]
    open_files: int
    processors: float
    memory_bytes: int
    state_folder_problem: str
    free_bytes: int


def gather(settings: Settings) -> RuntimeFacts:
    from stream_worker.kafka.features import lacking_features

    folder = settings.conversation.state_dir
    existing = _existing(folder)
    return RuntimeFacts(
        python=sys.version_info[:2],
        client_version=version("confluent-kafka"),
        lacking=lacking_features(),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        processors=processors(),
        memory_bytes=usable_bytes(),
        state_folder_problem="" if os.access(existing, os.W_OK | os.X_OK) and existing.is_dir() else str(existing),
        free_bytes=shutil.disk_usage(existing).free if existing.exists() else 0,
    )


def judge(facts: RuntimeFacts, settings: Settings) -> Iterator[Finding]:
    python = ".".join(map(str, facts.python))
    if (3, 11) <= facts.python <= (3, 13):
        yield _SAYS.fine("python", f"Python {python}")
    else:
        yield _SAYS.error(
            "python", f"Python {python}", "It is tested with 3.11 to 3.13 only.", "make setup PYTHON=python3.12"
        )
    yield from _client(facts)
    if facts.open_files >= _LEAST_FILES:
        yield _SAYS.fine("files", f"{facts.open_files} files may be open")
    else:
        yield _SAYS.error(
            "files",
            f"only {facts.open_files} files may be open, {_LEAST_FILES} are needed",
            "Connections to brokers and the local store would fail under load.",
            f"ulimit -n {_LEAST_FILES}",
        )
    threads = settings.engine.threads
    if threads > facts.processors:
        yield _SAYS.warning(
            "processors",
            f"engine.threads is {threads}, this process may use {facts.processors:g} processors",
            "Threads that wait for each other's turn make every token slower.",
            "set engine.threads to 0, which takes what there is",
        )
    else:
        yield _SAYS.fine(
            "processors", f"{facts.processors:g} processors, {facts.memory_bytes / 2**30:.1f} GiB of memory"
        )
    yield from _state(facts, settings)


def _client(facts: RuntimeFacts) -> Iterator[Finding]:
    found = tuple(int(part) for part in facts.client_version.split(".")[:2])
    if found < _LEAST_CLIENT:
        yield _SAYS.error(
            "client",
            f"confluent-kafka {facts.client_version}, 2.15 is needed",
            "Earlier ones lose track of the group in ways that delivery relies on.",
            "pip install 'confluent-kafka>=2.15'",
        )
    elif facts.lacking:
        yield _SAYS.error(
            "client",
            f"librdkafka was built without {', '.join(facts.lacking)}",
            "Secured brokers, or topics with such compression, cannot be used.",
            "pip install --force-reinstall --only-binary :all: confluent-kafka",
        )
    else:
        yield _SAYS.fine("client", f"confluent-kafka {facts.client_version} with ssl, sasl and zstd")


def _state(facts: RuntimeFacts, settings: Settings) -> Iterator[Finding]:
    folder = settings.conversation.state_dir
    free = f"{facts.free_bytes / 2**30:.1f} GiB free"
    if facts.state_folder_problem:
        yield _SAYS.error(
            "state",
            f"{facts.state_folder_problem} cannot be written to",
            "The worker keeps its copy of conversations there, and ends without it.",
            "set conversation.state_dir to a folder of this user's",
        )
    elif facts.free_bytes < _FREE_BYTES_NEEDED:
        yield _SAYS.error(
            "state", f"{folder}: {free}", "The worker ends when the disk is full.", "make room, or choose another disk"
        )
    elif facts.free_bytes < _FREE_BYTES_WANTED:
        yield _SAYS.warning(
            "state", f"{folder}: {free}", "The worker ends when the disk is full.", "make room, or choose another disk"
        )
    else:
        yield _SAYS.fine("state", f"{folder} is writable, {free}")


def processors() -> float:
    """What this process may use: its affinity, and its control group's quota."""
    own = float(len(os.sched_getaffinity(0)))
    quota = kernel_says("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        return min(own, int(quota[0]) / int(quota[1]))
    return own


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.exists())
