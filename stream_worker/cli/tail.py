"""`tail`: what workers publish, as it comes."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from stream_worker.cli.completing import published_topics
from stream_worker.cli.options import ConfigOption, KafkaOption, flags, settings_file
from stream_worker.cli.output import Format, FormatOption, row_stream
from stream_worker.cli.outputs.group import Kind, PublishedRecord

if TYPE_CHECKING:
    from stream_worker.kafka.gateway import Published

EPILOG = "Example: stream-worker tail --limit 10 --timeout 5"

_COLUMNS = ("kind", "conversation", "id", "what")
_WAIT_S = 0.2


def tail(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(help="Only of this topic. May be repeated.", autocompletion=published_topics),
    ] = None,
    conversation: Annotated[str, typer.Option(help="Only of this conversation.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="End after so many records; 0 goes on until Ctrl-C.")] = 0,
    timeout: Annotated[float, typer.Option(min=0, help="End after so many seconds; 0 goes on until Ctrl-C.")] = 0,
    text: Annotated[bool, typer.Option("--text", help="Show what was said, too.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Follow replies, analyses, metrics and deltas as they are published. It joins no group and disturbs nobody."""
    from stream_worker.kafka.gateway import Gateway
    from stream_worker.settings.loader import load_settings

    gateway = Gateway(load_settings(settings_file(config), flags(kafka)))
    gateway.follow(topic or ())
    ending = time.monotonic() + timeout if timeout else float("inf")
    shown = 0
    try:
        with row_stream(_COLUMNS, output) as rows:
            while time.monotonic() < ending and not (limit and shown >= limit):
                published = gateway.receive(_WAIT_S)
                if published is None or (conversation and published.conversation_id != conversation):
                    continue
                shown += 1
                rows.write([_row(published, text=text)])
    finally:
        gateway.close()


def _row(published: "Published", *, text: bool) -> PublishedRecord:
    from stream_worker.contracts.analysis import Analysis
    from stream_worker.contracts.delta import Delta
    from stream_worker.contracts.metric import EventMetric
    from stream_worker.contracts.reply import Reply

    match published:
        case Reply():
            said = f": {published.text}" if text else f", {len(published.text)} characters"
            kind, name, what = Kind.REPLY, published.reply_id, f"{published.finish_reason}{said}"
        case Delta():
            said = f": {published.text}" if text else f", {len(published.text)} characters"
            kind, name, what = Kind.DELTA, published.turn_id, f"{published.state} at {published.at}{said}"
        case Analysis():
            kind, name, what = (
                Kind.ANALYSIS,
                published.turn_id,
                f"{published.intent or 'no intent'}, {published.decision}",
            )
        case EventMetric():
            reason = f" ({published.reason})" if published.reason else ""
            seconds = f"{published.timings.total:.2f} s"
            kind, name, what = Kind.METRIC, published.event_id, f"{published.outcome}{reason} after {seconds}"
    return PublishedRecord(kind=kind, conversation=published.conversation_id, id=name, what=what)
