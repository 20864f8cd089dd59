"""`health`: one worker's probes, for scripts and container health checks."""

from enum import StrEnum
from typing import Annotated

import typer

from stream_worker.cli.options import ConfigOption, settings_file
from stream_worker.cli.output import Format, FormatOption, print_json, print_rows
from stream_worker.cli.probes import ask, read_checks

EPILOG = "Example: stream-worker health --probe live"

_FINDINGS, _MISSING = 1, 3


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
        raise typer.Exit(_MISSING)
    checks = read_checks(answer)
    if output is Format.JSON:
        print_json({"healthy": all(checks.values()), "checks": checks})
    else:
        print_rows([{"check": name, "holds": holds} for name, holds in checks.items()], ("check", "holds"), output)
    if not all(checks.values()):
        raise typer.Exit(_FINDINGS)
