"""`config`: check and show the settings, and their JSON Schema."""

from pathlib import Path
from typing import Annotated

import typer

from stream_worker.cli.options import ConfigOption, KafkaOption, flags, settings_file
from stream_worker.cli.output import Format, FormatOption, print_json, print_rows
from stream_worker.settings import Settings

app = typer.Typer(help="Check and show the settings.", no_args_is_help=True, rich_markup_mode="rich")


@app.command(epilog="Example: stream-worker config check --config stream-worker.yaml")
def check(config: ConfigOption = None, kafka: KafkaOption = None) -> None:
    """Check settings, client settings and bot files; connects to nothing."""
    from stream_worker.settings.loader import load_settings, settings_hash

    settings = load_settings(settings_file(config), flags(kafka))
    _check_clients(settings)
    bots = _check_bots(settings)
    names = ", ".join(bots) or "none"
    typer.echo(f"The settings are valid (hash {settings_hash(settings)}); bots: {names}.")


@app.command(epilog="Example: stream-worker config show --resolved --sources")
def show(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Defaults, too, not only what was given.")] = False,
    sources: Annotated[bool, typer.Option("--sources", help="Where each value comes from.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show the settings in force. Secrets are masked."""
    from stream_worker.settings.loader import resolve
    from stream_worker.settings.source import Origin

    rows = [
        {"setting": name, "value": value, "source": str(source)}
        for name, value, source in resolve(settings_file(config), flags(kafka)).values()
        if resolved or source.origin is not Origin.DEFAULT
    ]
    print_rows(rows, ("setting", "value", "source") if sources else ("setting", "value"), output)


@app.command(epilog="Example: stream-worker config schema > stream-worker.schema.json")
def schema() -> None:
    """Print the JSON Schema (2020-12) of the settings file, for editors."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "stream-worker settings"}
    print_json({**Settings.model_json_schema(), **dialect})


def _check_clients(settings: Settings) -> None:
    """Raises Misconfigured when a client setting that delivery relies on was overridden."""
    from stream_worker.kafka.client_settings import consumer_settings, transaction_settings

    consumer_settings(settings, None)
    transaction_settings(settings, "check", 1)


def _check_bots(settings: Settings) -> list[str]:
    """The names of the bots. Raises Misconfigured with file and position of what is wrong."""
    from stream_worker.bot.loader import load_bot

    files: dict[Path, None] = dict.fromkeys(binding.file for binding in settings.bots)
    return [load_bot(file, settings.engine.sampling).name for file in files]
