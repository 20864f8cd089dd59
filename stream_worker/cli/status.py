"""`status`: the group's members, its partitions, and how far behind they are."""

import typer

from stream_worker.cli.options import ConfigOption, KafkaOption, flags, settings_file
from stream_worker.cli.output import Format, FormatOption, print_json, print_rows

EPILOG = "Example: stream-worker status -o json"

_COLUMNS = ("partition", "owner", "committed", "end", "lag")


def status(config: ConfigOption = None, kafka: KafkaOption = None, output: FormatOption = Format.TABLE) -> None:
    """Show who owns each partition of the input, and how many events wait in it."""
    from stream_worker.kafka.group_admin import describe_group
    from stream_worker.kafka.topic_admin import connect
    from stream_worker.settings.loader import load_settings

    settings = load_settings(settings_file(config), flags(kafka))
    found = describe_group(connect(settings), settings)
    rows = [
        {
            "partition": each.partition,
            "owner": each.owner,
            "committed": each.committed,
            "end": each.end,
            "lag": each.lag,
        }
        for each in found.partitions
    ]
    if output is Format.JSON:
        print_json({"group": found.group, "state": found.state, "members": found.members, "partitions": rows})
        return
    if output is Format.TABLE:
        lag = sum(each.lag or 0 for each in found.partitions)
        typer.echo(f"group {found.group}: {found.state}, {found.members} members, lag {lag}", err=True)
    print_rows(rows, _COLUMNS, output)
