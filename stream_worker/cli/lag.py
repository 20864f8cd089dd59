"""`lag`: how far behind each partition is, in records and in time."""

import time

import typer

from stream_worker.cli.options import ConfigOption, KafkaOption, flags, settings_file
from stream_worker.cli.output import Format, FormatOption, print_rows
from stream_worker.cli.outputs.group import GroupLag, PartitionLag

EPILOG = "Example: stream-worker lag -o jsonl"

_COLUMNS = ("partition", "owner", "lag", "waiting_s")


def lag(config: ConfigOption = None, kafka: KafkaOption = None, output: FormatOption = Format.TABLE) -> None:
    """Show for each partition how many records wait behind the group's offset, and for how long the first one has."""
    from stream_worker.kafka.group_admin import describe_group
    from stream_worker.kafka.reading import records
    from stream_worker.kafka.topic_admin import connect
    from stream_worker.settings.loader import load_settings

    settings = load_settings(settings_file(config), flags(kafka))
    found = describe_group(connect(settings), settings)
    # The first record behind an offset; where there are only markers, nothing waits.
    first = {
        each.partition: (each.committed, each.end)
        for each in found.partitions
        if each.committed is not None and each.lag
    }
    written: dict[int, int] = {}
    for record in records(settings, settings.topics.events, first):
        written.setdefault(record.partition, record.timestamp_ms)
        if len(written) == len(first):
            break
    now_ms = time.time() * 1000
    rows = [
        PartitionLag(
            partition=each.partition,
            owner=each.owner,
            lag=each.lag,
            waiting_s=round(max(0.0, now_ms - written.get(each.partition, now_ms)) / 1000, 1),
        )
        for each in found.partitions
    ]
    group = GroupLag(group=found.group, lag=sum(each.lag or 0 for each in found.partitions), partitions=rows)
    if output is Format.TABLE:
        typer.echo(f"group {group.group}: lag {group.lag}", err=True)
    print_rows(rows, _COLUMNS, output, group)
