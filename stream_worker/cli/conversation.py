"""`conversation`: where one stands, why it waits, and how its turns came about."""

from typing import Annotated

import typer

from stream_worker.cli.options import ConfigOption, KafkaOption, TenantOption, flags, require_tenant, settings_file
from stream_worker.cli.output import Format, FormatOption, print_one, print_rows

app = typer.Typer(help="Where a conversation stands, and why.", no_args_is_help=True, rich_markup_mode="rich")

_LOOK_BACK = 20_000
TextOption = Annotated[bool, typer.Option("--text", help="Show what was said, too.")]


@app.command(epilog="Example: stream-worker conversation show c-42")
def show(
    conversation: Annotated[str, typer.Argument(help="Its id.")],
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    tenant: TenantOption = "",
    text: TextOption = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Say in one line why a conversation waits, and what is known of it.

    It reads Kafka alone: the changelog of its partition, and the events behind the group's offset.
    """
    from stream_worker.cli.outputs.conversations import ConversationShown, Line, UnsettledEvent
    from stream_worker.kafka.conversation_reading import view_conversation
    from stream_worker.settings.loader import load_settings

    settings = load_settings(settings_file(config), flags(kafka))
    require_tenant(tenant, tenants=settings.admission.tenants)
    key = f"{tenant}/{conversation}" if tenant else conversation
    view = view_conversation(settings, key)
    state = view.state
    history = [Line(at=line.at, speaker=line.speaker, text=line.text) for line in state.history] if state else []
    shown = ConversationShown(
        conversation=key,
        why=view.why,
        partition=view.partition,
        owner=view.owner,
        term=view.ledger.term if view.ledger else None,
        holder=state.holder if state else None,
        turns=state.turns if state else None,
        lines=len(state.history) if state else None,
        unsettled=[
            UnsettledEvent(offset=each.offset, event_id=each.event_id, written_ms=each.written_ms)
            for each in view.unsettled
        ],
        records_before=view.records_before,
        history=history if text else None,
    )
    print_one(shown, output)


@app.command(epilog="Example: stream-worker conversation explain c-42 --last 3")
def explain(
    conversation: Annotated[str, typer.Argument(help="Its id.")],
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    tenant: TenantOption = "",
    last: Annotated[int, typer.Option(min=1, help="So many of its last turns.")] = 5,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show how the last turns of a conversation came about: what was understood, decided, and computed.

    It reads the last 20,000 records of the partitions of the analysis and metrics topics. What somebody wrote is not
    shown, but for the values of slots in JSON.
    """
    from stream_worker.cli.outputs.conversations import TurnExplained
    from stream_worker.kafka.conversation_reading import turns_of
    from stream_worker.settings.loader import load_settings

    settings = load_settings(settings_file(config), flags(kafka))
    require_tenant(tenant, tenants=settings.admission.tenants)
    found = turns_of(settings, f"{tenant}/{conversation}" if tenant else conversation, last, _LOOK_BACK)
    rows = [TurnExplained(**each) for each in found]
    columns = ("at", "turn_id", "intent", "decision", "attempt", "prompt", "cached", "generated", "seconds")
    print_rows(rows, columns, output)
