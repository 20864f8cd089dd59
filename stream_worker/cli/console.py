"""`console`: the web page that shows conversations, evidence and the group at work."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from stream_worker.cli.options import ConfigOption, KafkaOption, flags, settings_file

EPILOG = "Example: stream-worker console --allow-changes"


def console(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    host: Annotated[str, typer.Option(help="Where it listens; not only on this machine needs --token-file.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Its port; 0 takes a free one.")] = 8_080,
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="Offer what writes events: try it, take over, answer, erase.")
    ] = False,
    token_file: Annotated[Path | None, typer.Option(help="A file with the token that whoever looks must give.")] = None,
    masked_token_file: Annotated[
        Path | None, typer.Option(help="A second token: who gives it sees personal data masked, and changes nothing.")
    ] = None,
    mask: Annotated[bool, typer.Option("--mask", help="Mask personal data for everybody.")] = False,
    who: Annotated[str | None, typer.Option(help="Whose name stands in events; without it, the user's.")] = None,
    prometheus: Annotated[str | None, typer.Option(help="Prometheus, http://host:9090, for the dashboards.")] = None,
    worker: Annotated[
        list[str] | None, typer.Option(help="A worker's http://host:port, for its cache and beats. May be repeated.")
    ] = None,
    trace_url: Annotated[
        str | None, typer.Option(help="Where traces are looked at, such as http://jaeger:16686/trace/{trace_id}.")
    ] = None,
    dashboards: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="A folder with Grafana's dashboards.")
    ] = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Offer to run turns again without effects: loads the model here.")
    ] = False,
    minutes: Annotated[int, typer.Option(min=1, max=10_080, help="How far back it reads at the start.")] = 60,
    most_records: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="But at most so many records of each partition.")
    ] = 2_000,
) -> None:
    """Show conversations live, with evidence, timings, and the group at work.

    It reads Kafka in no group, so workers do not notice it, and is read-only unless told otherwise.
    """
    from stream_worker.console.server import Options, serve
    from stream_worker.settings.loader import resolve

    options = Options(
        host=host,
        port=port,
        allow_changes=allow_changes,
        token_file=token_file,
        masked_token_file=masked_token_file,
        masks=mask,
        workers=tuple(worker or ()),
        trace_url=trace_url,
        who=who or getpass.getuser(),
        prometheus=prometheus,
        dashboards=dashboards,
        rehearses=rehearse,
        span_s=60.0 * minutes,
        most_records=most_records,
    )
    resolved = resolve(settings_file(config), flags(kafka))
    serve(resolved, options, lambda url: typer.echo(f"Console  {url}", err=True))
