"""`doctor`: what is wrong here, why it matters, and what cures it."""

import sys
from typing import Annotated

import typer

from stream_worker.cli.exit_codes import ExitCode
from stream_worker.cli.options import ConfigOption, KafkaOption, flags, settings_file
from stream_worker.cli.output import Format, FormatOption, print_rows

EPILOG = "Example: stream-worker doctor --only runtime,device,watching"


def doctor(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    only: Annotated[str, typer.Option(help="Groups to look at, separated by commas; all by default.")] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    write_probe: Annotated[
        bool, typer.Option("--write-probe", help="One transaction on the dead-letter topic, taken back again.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Look at everything a worker needs, and say what is wrong, why it matters, and what cures it.

    Reads only, unless --write-probe is given. Exit code 1 with a ✗, with --strict also with a !.
    """
    from stream_worker.cli.outputs.machine import DoctorFinding, DoctorReport
    from stream_worker.doctor.examination import Examined, examine, exit_is_clean
    from stream_worker.settings.loader import load_settings

    groups = _groups(only)
    settings = load_settings(settings_file(config), flags(kafka))
    examined: list[Examined] = []
    for each in examine(settings, groups, write_probe=write_probe):
        examined.append(each)
        if output is Format.TABLE:
            _print(each)
    rows = [
        DoctorFinding(
            group=finding.group,
            name=finding.name,
            mark=finding.mark,
            what=finding.what,
            why=finding.why,
            cure=finding.cure,
            docs=finding.docs,
        )
        for each in examined
        for finding in each.findings
    ]
    healthy = exit_is_clean(examined, strict=strict)
    if output is not Format.TABLE:
        seconds = {each.group.value: round(each.seconds, 3) for each in examined}
        print_rows(rows, (), output, DoctorReport(healthy=healthy, seconds=seconds, findings=rows))
    if not healthy:
        raise typer.Exit(ExitCode.FINDINGS)


def _groups(only: str) -> list["Group"]:  # type: ignore[name-defined]  # noqa: F821
    from rapidfuzz import process

    from stream_worker.doctor.finding import Group

    chosen = []
    for name in filter(None, (part.strip() for part in only.split(","))):
        if name not in list(Group):
            found = process.extractOne(name, list(Group), score_cutoff=50)
            nearest = f"did you mean {found[0]}?" if found else f"there are {', '.join(Group)}"
            raise typer.BadParameter(f"there is no group {name}: {nearest}", param_hint="--only")
        chosen.append(Group(name))
    return chosen or list(Group)


def _print(examined: "Examined") -> None:  # type: ignore[name-defined]  # noqa: F821
    from rich.console import Console
    from rich.text import Text

    from stream_worker.doctor.finding import Mark

    signs = {
        Mark.FINE: ("✓", "green"),
        Mark.WARNING: ("!", "yellow"),
        Mark.ERROR: ("✗", "red"),
        Mark.SKIPPED: ("-", "dim"),
    }
    # A pipe gets the same lines, without colours.
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    console.print(Text.assemble((examined.group.value, "bold"), (f"  {examined.seconds:.1f} s", "dim")))
    for finding in examined.findings:
        sign, colour = signs[finding.mark]
        console.print(Text.assemble("  ", (sign, colour), " ", finding.what))
        if finding.mark in (Mark.WARNING, Mark.ERROR):
            console.print(Text.assemble("    ", (finding.why, "dim")))
            console.print(Text.assemble("    cure: ", (finding.cure, "cyan")))
            console.print(Text.assemble("    docs: ", (finding.docs, "dim")))
