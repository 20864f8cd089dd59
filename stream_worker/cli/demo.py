"""`demo`: the whole thing on one machine: a real Kafka, a worker, a real model, a chat.

The parent only starts and watches: the broker and the worker are child
processes, so that torch is loaded once, where it is used, and while the broker starts.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_worker.cli.options import KafkaOption

if TYPE_CHECKING:
    import subprocess

    from rich.console import Console

    from stream_worker.cli.demo_processes import Children
    from stream_worker.settings import Settings

EPILOG = "Example: stream-worker demo --once 'What is the weather in Beijing?'"

_READY_S = 300.0
_PARTITIONS = 4
_IMPORTS = ("stream_worker.process", "stream_worker.inference.loading")
"""What takes the worker seconds to import, and can be had before the broker is there."""

_LOG = "worker.log"
_CONSOLE_LOG = "console.log"
_CONFIG = "stream-worker.yaml"


def demo(
    once: Annotated[str | None, typer.Option(help="Send this one message, print the reply, end.")] = None,
    input: Annotated[
        Path | None, typer.Option("--input", exists=True, dir_okay=False, help="Answer the lines of a file, and end.")
    ] = None,
    kafka: KafkaOption = None,
    explain: Annotated[bool, typer.Option(help="Show scores, prompt and cache under each reply.")] = False,
) -> None:
    """Chat with the demo bot: real Kafka, real model, nothing to set up.

    It runs an embedded Apache Kafka unless --kafka or KAFKA_BOOTSTRAP_SERVERS names another one.
    A pipe or --input answers each line and ends.
    """
    import os

    from rich.console import Console

    from stream_worker.cache import cache_folder
    from stream_worker.cli.chat import converse, new_id
    from stream_worker.cli.demo_processes import Children

    console = Console()
    lines = _lines(once, input)
    servers = kafka or os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    folder = cache_folder("demo")
    with Children() as children:
        with _status(console) as progress:
            worker = children.start(folder / _LOG, *_IMPORTS)
            bootstrap = servers or children.start_broker(folder / "kafka", progress)
            settings = demo_settings(bootstrap)
            _prepare(settings, folder, progress)
            worker.run("run", "--config", str(folder / _CONFIG))
            progress("Starting the worker and loading its model")
            _await_ready(worker.process, settings, folder / _LOG)
        if lines is not None:
            converse(settings, new_id(), explain=explain, lines=lines)
            return
        address = _start_console(children, folder)
        _introduce(console, settings, address, embedded=servers is None)
        converse(settings, new_id(), explain=explain, lines=None)


def _lines(once: str | None, file: Path | None) -> list[str] | None:
    """What to say, if it is known; None to read the keyboard."""
    if once is not None:
        return [once]
    if file is not None:
        text = _read(file)
    elif not sys.stdin.isatty():
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
    else:
        return None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{file} is not UTF-8", param_hint="--input") from error


def demo_settings(bootstrap: str) -> "Settings":
    """The demo's settings; its folder is in the cache and may be deleted while no demo runs.

    Its topics have names of their own: on a Kafka that others use, too, it must not answer their messages.
    """
    from stream_worker.cache import cache_folder
    from stream_worker.settings import Settings

    folder = cache_folder("demo")
    return Settings.model_validate(
        {
            "application_id": "demo",
            "instance": "0",
            "bots": [{"file": folder / "bot.yaml"}],
            "drain_timeout_s": 1.0,
            "kafka": {"bootstrap_servers": bootstrap, "start_at": "earliest"},
            "topics": {
                "events": "demo.chat.events",
                "partitions": _PARTITIONS,
                "replication_factor": 1,
                "min_insync_replicas": 1,
            },
            "outputs": {"prefix": "demo."},
            "conversation": {"state_dir": folder / "state"},
            "observability": {"host": "127.0.0.1", "port": _free_port()},
        }
    )


def _prepare(settings: "Settings", folder: Path, progress: Callable[[str], None]) -> None:
    """Topics, the bot with its understanding, and the settings file."""
    from ruamel.yaml import YAML

    from stream_worker.kafka.topic_admin import connect, create
    from stream_worker.kafka.topics import topic_table

    progress("Creating the topics")
    create(connect(settings), topic_table(settings))
    prepare_bot(folder, progress)
    with (folder / _CONFIG).open("w", encoding="utf-8") as out:
        YAML(typ="safe").dump(settings.model_dump(mode="json", exclude_none=True), out)


def prepare_bot(folder: Path, progress: Callable[[str], None]) -> None:
    """The bot's file, and its understanding, trained where it is not there for these examples yet."""
    from importlib.resources import files

    from stream_worker.golden.heads import ensure_heads
    from stream_worker.settings.understanding import UnderstandingSettings

    templates = files("stream_worker") / "templates" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("bot.yaml", "nlu.yml"):
        (folder / name).write_bytes(templates.joinpath(name).read_bytes())
    encoder = UnderstandingSettings().encoder or ""
    told = "Training the demo bot's understanding, once"
    ensure_heads(folder / "heads", folder / "nlu.yml", encoder, lambda _: progress(told))


def _start_console(children: "Children", folder: Path) -> str:
    """The web page, as a process of its own; its address."""
    port = _free_port()
    console = children.start(folder / _CONSOLE_LOG)
    console.run("console", "--config", str(folder / _CONFIG), "--port", str(port), "--allow-changes", "--rehearse")
    return f"http://127.0.0.1:{port}"


def _await_ready(child: "subprocess.Popen[bytes]", settings: "Settings", log: Path) -> None:
    """Until the worker serves its partitions. Raises Missing with the end of its log when it ends instead."""
    import time
    import urllib.error
    import urllib.request

    from stream_worker.errors import Code, Missing

    url = f"http://127.0.0.1:{settings.observability.port}/readyz"
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise Missing(Code.WORKER_START_FAILED, f"the worker ended; the end of {log} says:\n{_tail(log)}")
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise Missing(Code.WORKER_START_FAILED, f"the worker was not ready within {_READY_S:.0f} s: see {log}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _status(console: "Console") -> Iterator[Callable[[str], None]]:
    """Progress as one changing line on a terminal, as lines elsewhere."""
    if console.is_terminal:
        with console.status("") as status:
            yield lambda text: status.update(f"{text} …")
    else:
        yield lambda text: typer.echo(text, err=True)


def _introduce(console: "Console", settings: "Settings", address: str, *, embedded: bool) -> None:
    topics, servers = settings.topics, settings.kafka.bootstrap_servers
    folder = settings.conversation.state_dir.parent
    names = (topics.replies, topics.deltas, topics.analysis, topics.actions, topics.metrics, topics.dead_letters)
    outputs = [settings.output_topic(name) for name in names]
    broker = "an embedded Apache Kafka" if embedded else "Kafka"
    lines = [
        f"[bold]stream-worker demo[/] on {broker} at {servers}",
        f"  console:  {address}",
        f"  send:     stream-worker send 'Hello' --config {folder / _CONFIG}",
        f"  topics:   {topics.events} → {', '.join(outputs)}",
        f"  metrics:  http://127.0.0.1:{settings.observability.port}/metrics",
        f"  logs:     {folder / _LOG}",
        "  stop:     Ctrl-C",
    ]
    if embedded:
        lines.append("  another broker: --kafka HOST:PORT, or KAFKA_BOOTSTRAP_SERVERS=HOST:PORT")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
