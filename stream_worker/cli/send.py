"""`send`: one event into the input topic."""

from typing import Annotated

import typer

from stream_worker.cli.options import ConfigOption, KafkaOption, TenantOption, flags, require_tenant, settings_file
from stream_worker.cli.output import Format, FormatOption, print_one
from stream_worker.cli.outputs.group import SentEvent

EPILOG = 'Example: stream-worker send "What\'s the weather in Beijing?" --conversation c-42'


def send(
    text: Annotated[str, typer.Argument(help="What the user says.")],
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    conversation: Annotated[str, typer.Option(help="The conversation's id, the record's key.")] = "demo",
    sender: Annotated[str, typer.Option(help="The sender's id.")] = "you",
    tenant: TenantOption = "",
    output: FormatOption = Format.TABLE,
) -> None:
    """Send one message as an event.

    Prints where it was written. The reply goes to the replies topic.
    """
    from uuid import uuid4

    from stream_worker.kafka.gateway import Gateway
    from stream_worker.settings.loader import load_settings

    settings = load_settings(settings_file(config), flags(kafka))
    _require_unicode(text)
    require_tenant(tenant, tenants=settings.admission.tenants)
    key, event_id = f"{tenant}/{conversation}" if tenant else conversation, uuid4().hex
    gateway = Gateway(settings)
    try:
        place = gateway.send(
            key,
            {
                "conversation_id": conversation,
                "tenant": tenant,
                "message_id": event_id,
                "sender": {"id": sender},
                "text": text,
            },
        )
    finally:
        gateway.close()
    sent = SentEvent(
        conversation=key, event_id=event_id, topic=place.topic, partition=place.partition, offset=place.offset
    )
    print_one(sent, output)


def _require_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise typer.BadParameter("the text is not UTF-8", param_hint="TEXT") from error
