"""`run`: a worker, until it is told to stop."""

from pathlib import Path
from typing import Annotated

import typer

from stream_worker.cli.options import ConfigOption, KafkaOption, flags, settings_file

EPILOG = "Example: stream-worker run --config stream-worker.yaml"


def run(
    config: ConfigOption = None,
    bot: Annotated[Path | None, typer.Option(help="A bot file for everybody, instead of `bots`.")] = None,
    kafka: KafkaOption = None,
    instance: Annotated[str | None, typer.Option(help="This worker's stable name, instead of `instance`.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N, instead of `device`.")] = None,
    adopt_group: Annotated[
        bool, typer.Option("--adopt-group", help="Go on from the group's offsets although there is no ledger.")
    ] = False,
) -> None:
    """Run a worker.

    It joins the group when its model is loaded. SIGTERM lets running turns finish and gives the
    partitions back; a second one ends it at once, which loses nothing either.
    """
    from stream_worker.process import run_worker
    from stream_worker.settings.loader import load_settings

    overrides = flags(kafka)
    overrides |= {name: value for name, value in (("instance", instance), ("device", device)) if value is not None}
    if bot is not None:
        overrides["bots"] = [{"file": str(bot)}]
    settings = load_settings(settings_file(config), overrides)
    run_worker(settings, adopt_group=adopt_group, progress=lambda text: typer.echo(text, err=True))
