"""`config`: check and show the settings, and their JSON Schema."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, assert_never, cast

import typer
from pydantic import JsonValue

from stream_worker.cli.exit_codes import ExitCode
from stream_worker.cli.options import ConfigOption, KafkaOption, flags, settings_file
from stream_worker.cli.output import Format, FormatOption, print_json, print_rows
from stream_worker.cli.outputs.machine import CheckedPart, Part, Result, SettingValue
from stream_worker.settings import Settings
from stream_worker.settings.engine import EngineSettings

if TYPE_CHECKING:
    from stream_worker.inference.device import Models

app = typer.Typer(help="Check and show the settings.", no_args_is_help=True, rich_markup_mode="rich")

_MOST_NAMES = 10


@app.command(epilog="Example: stream-worker config check --config stream-worker.yaml")
def check(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    online: Annotated[
        bool,
        typer.Option(
            "--online",
            help="Load the models, ask the model server and the broker, too, as `run` would; writes nothing.",
        ),
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Check settings, client settings and bot files; connects to nothing unless told to.

    Exit code 1 with findings.
    """
    from stream_worker.settings.loader import load_settings

    settings = load_settings(settings_file(config), flags(kafka))
    checked: list[CheckedPart] = []
    try:
        checked.extend(_offline(settings))
        if online:
            checked.extend(_models(settings))
            checked.extend(_topics(settings))
    finally:
        # What was fine before an error ends the command is worth knowing.
        print_rows(checked, ("part", "result", "what", "cure"), output)
    if any(each.result is not Result.FINE for each in checked):
        raise typer.Exit(ExitCode.FINDINGS)


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
        SettingValue(setting=name, value=cast(JsonValue, value), source=str(source))
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
    from stream_worker.settings.document import parse
    from stream_worker.settings.renames import RENAMED, move, renamed_in

    file = settings_file(config)
    if file is None:
        raise typer.BadParameter("there is no stream-worker.yaml here: name a file", param_hint="--config")
    yaml = YAML(typ="rt")
    yaml.preserve_quotes, yaml.width = True, 4096
    tree = parse(file, yaml)
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
        raise typer.Exit(ExitCode.FINDINGS)
    with file.open("wb") as out:
        yaml.dump(tree, out)


def _check_clients(settings: Settings) -> None:
    """Raises Misconfigured for a setting that delivery relies on, or that librdkafka does not take."""
    from stream_worker.kafka.client_settings import (
        LARGEST_BATCH_BYTES,
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
    make_producer(transaction_settings(settings, "check", LARGEST_BATCH_BYTES))
    make_producer(delta_settings(settings, LARGEST_BATCH_BYTES))


def _fine(part: Part, what: str) -> CheckedPart:
    return CheckedPart(part=part, result=Result.FINE, what=what, cure="")


def _offline(settings: Settings) -> Iterator[CheckedPart]:
    """Raises Misconfigured for what is wrong."""
    from stream_worker.bot.loader import load_bots
    from stream_worker.settings.loader import settings_hash

    yield _fine(Part.SETTINGS, f"valid, hash {settings_hash(settings)}")
    _check_clients(settings)
    yield _fine(Part.CLIENTS, "librdkafka takes the settings of every client")
    yield _fine(Part.BOTS, f"valid: {', '.join(bot.name for bot in load_bots(settings).all)}")


def _models(settings: Settings) -> Iterator[CheckedPart]:
    """Raises Missing or Misconfigured when a model is not there, or is none that `run` could use."""
    from stream_worker.bot.loader import load_bots
    from stream_worker.cache import cache_folder
    from stream_worker.clock import SystemClock
    from stream_worker.loading import load

    def report(text: str) -> None:
        typer.echo(text, err=True)

    models = load(settings, load_bots(settings).all, cache_folder("models"), SystemClock(), report).models
    yield _engine(settings.engine, models)
    if models.encoder() is not None:
        yield _fine(Part.ENCODER, "the encoder of the bots' understanding loads, and fits what was trained")


def _engine(engine: EngineSettings, models: "Models") -> CheckedPart:
    match engine.kind:
        case "torch" | "scripted":
            name = models.stepper().capabilities.model
            # Loading has refused every other template.
            template = "; its chat template is append-only" if engine.kind == "torch" else ""
            return _fine(Part.ENGINE, f"{name} loads{template}")
        case "vllm":
            return _fine(Part.ENGINE, "the model and its append-only chat template are there; vLLM was not started")
        case "openai":
            return _server(engine)
        case _:
            assert_never(engine.kind)


def _server(engine: EngineSettings) -> CheckedPart:
    """Raises Missing when no model server answers, Misconfigured when it refuses the key."""
    from stream_worker.inference.openai_server import ask_for_models

    served, url = ask_for_models(engine.openai).names, engine.openai.address
    if served is None:
        return _fine(Part.SERVER, f"it answers at {url}; it does not tell whether it has {engine.model}")
    if engine.model in served:
        return _fine(Part.SERVER, f"it answers at {url}, and has {engine.model}")
    names = ", ".join(sorted(served)[:_MOST_NAMES]) or "none"
    return CheckedPart(
        part=Part.SERVER,
        result=Result.WARNING,
        what=f"it answers at {url}, but does not list {engine.model}; it lists: {names}",
        cure="name one of them as engine.model",
    )


def _topics(settings: Settings) -> Iterator[CheckedPart]:
    """Raises Missing when no broker answers."""
    from stream_worker.kafka import topic_admin

    findings = topic_admin.check(topic_admin.connect(settings), settings)
    for finding in findings:
        result = Result(finding.severity.value)
        yield CheckedPart(part=Part.TOPICS, result=result, what=f"{finding.topic}: {finding.what}", cure=finding.cure)
    if not findings:
        yield _fine(Part.TOPICS, f"the broker answers at {settings.kafka.bootstrap_servers}; all are as they should be")
