"""`status`: the group's members, its partitions, and how far behind they are."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from stream_worker.cli.exit_codes import ExitCode
from stream_worker.cli.options import ConfigOption, KafkaOption, flags, settings_file
from stream_worker.cli.output import Format, FormatOption, print_rows
from stream_worker.cli.outputs.group import GroupOverview, PartitionPlace
from stream_worker.cli.probes import ask, read_checks

if TYPE_CHECKING:
    from stream_worker.kafka.group_admin import GroupStatus

EPILOG = "Example: stream-worker status -o json"

_COLUMNS = ("partition", "owner", "committed", "end", "lag")
_LOOK_EVERY_S = 1.0


def status(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every second, until Ctrl-C.")] = False,
    exit_when_healthy: Annotated[
        bool, typer.Option("--exit-when-healthy", help="With -w: end, with exit code 0, as soon as all is well.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0, help="With -w: end with exit code 1 after so many seconds.")] = 0,
    worker: Annotated[
        list[str] | None,
        typer.Option("--worker", help="A worker's http://host:port: it must be ready and alive, too. May be repeated."),
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show who owns each partition of the input, and how many events wait in it.

    Healthy: the group is stable, every partition has an owner, and the lag is zero or falls; and each --worker is
    ready (nothing is restored or refused) with every thread alive.
    """
    from stream_worker.kafka.group_admin import describe_group
    from stream_worker.kafka.topic_admin import connect
    from stream_worker.settings.loader import load_settings

    settings = load_settings(settings_file(config), flags(kafka))
    admin, lag_before, started = connect(settings), None, time.monotonic()
    while True:
        found = describe_group(admin, settings)
        lag = sum(each.lag or 0 for each in found.partitions)
        ill = ailments(found, lag_before, worker or ())
        _print(found, lag, ill, output)
        if not watch or (exit_when_healthy and not ill):
            return
        if timeout and time.monotonic() - started > timeout:
            typer.echo(f"not healthy after {timeout:g} s: {'; '.join(ill) or 'it is, now'}", err=True)
            raise typer.Exit(ExitCode.FINDINGS)
        lag_before = lag
        time.sleep(_LOOK_EVERY_S)


def ailments(found: "GroupStatus", lag_before: int | None, workers: Sequence[str]) -> list[str]:
    """Why it is not healthy; empty when it is. `lag_before` is the lag of a moment ago, None at the first look."""
    ill = []
    if found.state != "stable":
        ill.append(f"the group is {found.state}")
    if free := [str(each.partition) for each in found.partitions if each.owner is None]:
        ill.append(f"partitions without an owner: {', '.join(free)}")
    lag = sum(each.lag or 0 for each in found.partitions)
    if lag and (lag_before is None or lag >= lag_before):
        ill.append(f"the lag is {lag}" + ("" if lag_before is None else ", and does not fall"))
    for worker in workers:
        for path in ("/readyz", "/livez"):
            answer = ask(f"{worker.rstrip('/')}{path}")
            if answer is None:
                ill.append(f"nobody answers at {worker}")
                break
            ill += [f"{worker}: not so: {name}" for name, holds in read_checks(answer).items() if not holds]
    return ill


def _print(found: "GroupStatus", lag: int, ill: Sequence[str], output: Format) -> None:
    partitions = [
        PartitionPlace(partition=each.partition, owner=each.owner, committed=each.committed, end=each.end, lag=each.lag)
        for each in found.partitions
    ]
    overview = GroupOverview(
        group=found.group,
        state=found.state,
        members=found.members,
        lag=lag,
        healthy=not ill,
        ailments=list(ill),
        partitions=partitions,
    )
    if output is Format.TABLE:
        typer.echo(f"group {found.group}: {found.state}, {found.members} members, lag {lag}", err=True)
    print_rows(partitions, _COLUMNS, output, overview)
