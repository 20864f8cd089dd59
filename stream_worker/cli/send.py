"""`send`: one event into the input topic."""

from pathlib import Path
from typing import Annotated

import typer


def send(
    text: Annotated[str, typer.Argument(help="What the user says.")],
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The configuration file.")] = None,
    kafka: Annotated[str | None, typer.Option(help="Brokers, instead of kafka.bootstrap_servers.")] = None,
    conversation: Annotated[str, typer.Option(help="The conversation's id, the record's key.")] = "demo",
    sender: Annotated[str, typer.Option(help="The sender's id.")] = "you",
) -> None:
    """Send one message as an event.

    Prints where it was written. The reply goes to the replies topic.

    Example: stream-worker send "What's the weather in Beijing?" --conversation c-42
    """
    from uuid import uuid4

    from stream_worker.kafka.gateway import Gateway
    from stream_worker.settings.loader import load_settings

    settings = load_settings(config, {"kafka.bootstrap_servers": kafka} if kafka else {})
    gateway = Gateway(settings)
    try:
        place = gateway.send(
            conversation,
            {
                "conversation_id": conversation,
                "message_id": uuid4().hex,
                "sender": {"id": sender},
                "text": text,
            },
        )
    finally:
        gateway.close()
    typer.echo(f"{place.topic} partition {place.partition} offset {place.offset}")
