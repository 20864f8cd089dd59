"""`topics`: create what a worker needs, and check what is there."""

from typing import Annotated

import typer

from stream_worker.cli.asking import ask_first
from stream_worker.cli.exit_codes import ExitCode
from stream_worker.cli.options import ConfigOption, KafkaOption, flags, settings_file
from stream_worker.cli.output import Format, FormatOption, print_rows

app = typer.Typer(help="Create and check the topics.", no_args_is_help=True, rich_markup_mode="rich")


@app.command(epilog="Example: stream-worker topics create --dry-run")
def create(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Let the broker validate, and create nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Create every topic of this application that is missing; those that exist stay as they are."""
    from stream_worker.kafka import topic_admin
    from stream_worker.kafka.topics import topic_table
    from stream_worker.settings.loader import load_settings

    settings = load_settings(settings_file(config), flags(kafka))
    specs = topic_table(settings)
    if not dry_run and not yes:
        ask_first(f"Create {len(specs)} topics on {settings.kafka.bootstrap_servers}?")
    reports = topic_admin.create(topic_admin.connect(settings), specs, dry_run=dry_run)
    print_rows(reports, ("topic", "result", "detail"), output)
    if any(each.result is topic_admin.Creation.FAILED for each in reports):
        raise typer.Exit(ExitCode.FINDINGS)


@app.command(epilog="Example: stream-worker topics check -o json")
def check(config: ConfigOption = None, kafka: KafkaOption = None, output: FormatOption = Format.TABLE) -> None:
    """Say what is wrong with the topics, why it matters, and what cures it. Exit code 1 with findings."""
    from stream_worker.kafka import topic_admin
    from stream_worker.settings.loader import load_settings

    settings = load_settings(settings_file(config), flags(kafka))
    findings = topic_admin.check(topic_admin.connect(settings), settings)
    if not findings and output is Format.TABLE:
        typer.echo("All topics are as they should be.")
        return
    print_rows(findings, ("severity", "topic", "what", "why", "cure"), output)
    if findings:
        raise typer.Exit(ExitCode.FINDINGS)
