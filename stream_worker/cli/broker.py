"""`broker start`: a real Kafka for anyone who wants to play."""

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from stream_worker.cli.exit_codes import ExitCode

app = typer.Typer(help="A real Apache Kafka on this machine; needs neither Java nor Maven.", no_args_is_help=True)

# The defaults are those of a cluster: three copies.
_ONE_NODE = "STREAM_WORKER__TOPICS__REPLICATION_FACTOR=1 STREAM_WORKER__TOPICS__MIN_INSYNC_REPLICAS=1"


@app.callback()
def _group() -> None:
    """A real Apache Kafka on this machine; needs neither Java nor Maven."""


@app.command(epilog="Example: stream-worker broker start --port 9092")
def start(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on 127.0.0.1; 0 takes a free one.")] = 9_092,
    folder: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Where its data and log go; without it, a folder in the user's cache."),
    ] = None,
) -> None:
    """Start a broker in the foreground; its topics are kept for the next start in the same folder."""
    from stream_worker.cache import cache_folder
    from stream_worker.embedded.broker import EmbeddedBroker

    signal.signal(signal.SIGTERM, _terminate)
    broker = EmbeddedBroker(folder or cache_folder("broker"), port, progress=lambda text: typer.echo(text, err=True))
    try:
        with broker:
            typer.echo(
                f"Kafka     {broker.bootstrap_servers}\n"
                f"Log       {broker.log_file}\n"
                f"Use it    --kafka {broker.bootstrap_servers}\n"
                f"One node  {_ONE_NODE} stream-worker topics create --kafka {broker.bootstrap_servers}\n"
                "Stop it   Ctrl-C"
            )
            broker.wait()
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    # Leaves the `with` block, so the broker is stopped in good order before we end.
    raise SystemExit(0)
