"""`health`: one worker's probes, for scripts and container health checks."""

from enum import StrEnum
from typing import Annotated

import typer

from stream_worker.cli.exit_codes import ExitCode
from stream_worker.cli.options import ConfigOption, settings_file
from stream_worker.cli.output import Format, FormatOption, print_rows
from stream_worker.cli.outputs.machine import ProbeAnswer, ProbeCheck
from stream_worker.cli.probes import ask, read_checks

EPILOG = "Example: stream-worker health --probe live"


class Probe(StrEnum):
    READY = "ready"
    LIVE = "live"
    STARTUP = "startup"


_PATHS = {Probe.READY: "/readyz", Probe.LIVE: "/livez", Probe.STARTUP: "/startupz"}


def health(
    config: ConfigOption = None,
    probe: Annotated[Probe, typer.Option(help="What to ask for.")] = Probe.READY,
    url: Annotated[str, typer.Option(help="A worker's http://host:port, instead of this machine's.")] = "",
    output: FormatOption = Format.TABLE,
) -> None:
    """Ask a worker whether it is ready, alive, or has started. Exit code 1 when it is not, 3 when nobody answers."""
    from stream_worker.settings.loader import load_settings

    if not url:
        url = f"http://127.0.0.1:{load_settings(settings_file(config)).observability.port}"
    answer = ask(f"{url.rstrip('/')}{_PATHS[probe]}")
    if answer is None:
        typer.echo(f"Nobody answers at {url}: is a worker running there?", err=True)
        raise typer.Exit(ExitCode.MISSING)
    checks = read_checks(answer)
    rows = [ProbeCheck(check=name, holds=holds) for name, holds in checks.items()]
    print_rows(rows, ("check", "holds"), output, ProbeAnswer(healthy=all(checks.values()), checks=checks))
    if not all(checks.values()):
        raise typer.Exit(ExitCode.FINDINGS)
