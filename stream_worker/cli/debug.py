"""`debug`: everything that whoever helps you will ask for, in one file."""

from pathlib import Path
from typing import Annotated

import typer

from stream_worker.cli.options import ConfigOption, KafkaOption, flags, settings_file

app = typer.Typer(help="Gather what somebody needs who helps you.", no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def _group() -> None:
    """Gather what somebody needs who helps you."""


@app.command(epilog="Example: stream-worker debug bundle --output bundle.zip")
def bundle(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    output: Annotated[Path, typer.Option(help="Where to; an existing file stays.")] = Path("stream-worker-bundle.zip"),
    log: Annotated[Path | None, typer.Option(help="A worker's log: its last 1,000 lines go in.")] = None,
    url: Annotated[str, typer.Option(help="A worker's http://host:port, instead of this machine's.")] = "",
) -> None:
    """Zip settings, findings, versions, metrics, threads, log lines, group and ledgers.

    No secret and no message text is in it: settings are masked, log lines are JSON without texts, and whatever equals
    a secret of the settings is masked everywhere.
    """
    from stream_worker.bundle import write_bundle
    from stream_worker.settings.loader import resolve

    if output.exists():
        raise typer.BadParameter(f"{output} is there already: choose another name", param_hint="--output")
    resolved = resolve(settings_file(config), flags(kafka))
    names = write_bundle(resolved, output, log, url or f"http://127.0.0.1:{resolved.settings.observability.port}")
    typer.echo(f"{output}: {', '.join(names)}")
