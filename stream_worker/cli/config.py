"""`config`: check and show the settings, and their JSON Schema."""

from typing import Annotated, assert_never

import typer

from stream_worker.cli.options import ConfigOption, KafkaOption, flags, settings_file
from stream_worker.cli.output import Format, FormatOption, print_json, print_rows
from stream_worker.settings import Settings

app = typer.Typer(help="Check and show the settings.", no_args_is_help=True, rich_markup_mode="rich")


_FINDINGS = 1


@app.command(epilog="Example: stream-worker config check --config stream-worker.yaml")
def check(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    online: Annotated[
        bool, typer.Option("--online", help="Load the models and ask the broker, too, as `run` would; writes nothing.")
    ] = False,
) -> None:
    """Check settings, client settings and bot files; connects to nothing unless told to."""
    from stream_worker.bot.loader import load_bots
    from stream_worker.settings.loader import load_settings, settings_hash

    settings = load_settings(settings_file(config), flags(kafka))
    _check_clients(settings)
    names = ", ".join(bot.name for bot in load_bots(settings).all)
    typer.echo(f"The settings are valid (hash {settings_hash(settings)}); bots: {names}.")
    if online:
        _check_models(settings)
        _check_topics(settings)


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


@app.command(epilog="Example: stream-worker config migrate --dry-run")
def migrate(
    config: ConfigOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Give renamed settings of the file their new names. Comments and order stay."""
    from ruamel.yaml import YAML

    from stream_worker.cli.asking import ask_first
    from stream_worker.settings.renames import RENAMED, move, renamed_in

    file = settings_file(config)
    if file is None:
        raise typer.BadParameter("there is no stream-worker.yaml here: name a file", param_hint="--config")
    yaml = YAML(typ="rt")
    yaml.preserve_quotes, yaml.width = True, 4096
    tree = yaml.load(file.read_bytes()) or {}
    found = renamed_in(tree, RENAMED)
    for old, new in found.items():
        typer.echo(f"{old} → {new}")
    if not found:
        typer.echo(f"{file} uses no renamed setting.")
    if dry_run or not found:
        return
    if not yes:
        ask_first(f"Change {file}?")
    if taken := [old for old, new in found.items() if not move(tree, old, new)]:
        typer.echo(f"Both names are given, take one out: {', '.join(taken)}", err=True)
        raise typer.Exit(_FINDINGS)
    with file.open("wb") as out:
        yaml.dump(tree, out)


def _check_clients(settings: Settings) -> None:
    """Raises Misconfigured for a setting that delivery relies on, or that librdkafka does not take."""
    from stream_worker.kafka.client_settings import (
        admin_settings,
        consumer_settings,
        delta_settings,
        restore_settings,
        transaction_settings,
    )
    from stream_worker.kafka.clients import make_admin, make_consumer, make_producer

    make_admin(admin_settings(settings))
    make_consumer(consumer_settings(settings, None)).close()
    make_consumer(restore_settings(settings)).close()
    make_producer(transaction_settings(settings, "check", 1_000_000))
    make_producer(delta_settings(settings, 1_000_000))


def _check_models(settings: Settings) -> None:
    """Raises Missing or Misconfigured when a model is not there, or is none that `run` could use."""
    from stream_worker.bot.loader import load_bots
    from stream_worker.cache import cache_folder
    from stream_worker.clock import SystemClock
    from stream_worker.loading import load

    def report(text: str) -> None:
        typer.echo(text, err=True)

    models = load(settings, load_bots(settings).all, cache_folder("models"), SystemClock(), report).models
    match settings.engine.kind:
        case "torch" | "scripted":
            engine = models.stepper().capabilities.model
            # Loading has refused every other template.
            template = "; its chat template is append-only" if settings.engine.kind == "torch" else ""
            typer.echo(f"The engine loads {engine}{template}.")
        case "vllm":
            typer.echo("The model and its append-only chat template are there; vLLM was not started.")
        case "openai":
            typer.echo(f"Replies come from {settings.engine.openai.base_url}, which was not asked.")
        case _:
            assert_never(settings.engine.kind)
    if models.encoder() is not None:
        typer.echo("The encoder of the bots' understanding loads, and fits what was trained.")


def _check_topics(settings: Settings) -> None:
    """Raises Missing when no broker answers; ends with exit code 1 when a topic is not as it should be."""
    from stream_worker.kafka import topic_admin

    findings = topic_admin.check(topic_admin.connect(settings), settings)
    for finding in findings:
        typer.echo(f"{finding.severity.value}: {finding.topic}: {finding.what}; cure: {finding.cure}")
    if findings:
        raise typer.Exit(_FINDINGS)
    typer.echo(f"The broker answers at {settings.kafka.bootstrap_servers}; all topics are as they should be.")
