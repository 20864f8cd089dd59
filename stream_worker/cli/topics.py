"""`topics`: create what a worker needs, check it, give it more partitions, and say which rights are needed."""

from dataclasses import asdict
from typing import Annotated

import typer

from stream_worker.cli.asking import ask_first
from stream_worker.cli.exit_codes import ExitCode
from stream_worker.cli.options import ConfigOption, KafkaOption, flags, settings_file
from stream_worker.cli.output import Format, FormatOption, print_rows
from stream_worker.kafka.rights import User

app = typer.Typer(
    help="Create and check the topics, and give them more partitions.", no_args_is_help=True, rich_markup_mode="rich"
)


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


@app.command(epilog="Example: stream-worker topics repartition --to 192 --dry-run")
def repartition(
    to: Annotated[int, typer.Option("--to", help="How many partitions the input is to have.", min=1, max=10_000)],
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be moved, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Give the input and the changelog more partitions, and move every conversation's state to its new one.

    Producers and workers must be stopped, and every event settled: it refuses otherwise, with exit code 4 and nothing
    changed. Until it has ended no worker starts. After a crash run it again: it goes on where it was.
    """
    from stream_worker.kafka.repartition import Repartition
    from stream_worker.settings.loader import load_settings

    settings = load_settings(settings_file(config), flags(kafka))
    repartition = Repartition(settings, to, lambda text: typer.echo(text, err=True))
    if dry_run or not yes:
        found = repartition.look()
        if not dry_run:
            ask_first(
                f"Move {found.moved} of {found.conversations} conversations of {settings.application_id} from "
                f"{found.partitions_before} to {to} partitions? The count cannot be lowered again."
            )
    if not dry_run:
        found = repartition.run()
    print_rows(found.partitions, ("partition", "before", "after"), output, document=found)
    verb = "moved" if found.done else "would be moved"
    typer.echo(
        f"{found.moved} of {found.conversations} conversations {verb}, {found.carried} events carried over.", err=True
    )
    if found.done and settings.topics.partitions != to:
        typer.echo(f"Now set topics.partitions to {to} in stream-worker.yaml, before the workers start.", err=True)


@app.command(epilog="Example: stream-worker topics acls --for gateway --principal User:shop-gateway")
def acls(
    user: Annotated[User, typer.Option("--for", help="Whose rights.")] = User.WORKER,
    principal: Annotated[
        str, typer.Option(help="Who gets them, as the broker names its users.")
    ] = "User:stream-worker",
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Print the least rights that a worker, gateway or console needs, as commands of Kafka's own tool."""
    from stream_worker.cli.outputs.group import NeededRight
    from stream_worker.kafka.rights import rights
    from stream_worker.settings.loader import load_settings

    settings = load_settings(settings_file(config), flags(kafka))
    needed, servers = rights(settings, user), settings.kafka.bootstrap_servers
    if output is Format.TABLE:
        # Commands, to be looked through and run: a table would cut them.
        for right in needed:
            typer.echo(right.allow(principal, servers))
        return
    rows = [NeededRight(**asdict(each), command=each.allow(principal, servers)) for each in needed]
    print_rows(rows, (), output)
