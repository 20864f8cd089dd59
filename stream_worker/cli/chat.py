"""`chat`: a conversation on the terminal, over the real topics."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from stream_worker.cli.options import ConfigOption, KafkaOption, TenantOption, flags, require_tenant, settings_file

if TYPE_CHECKING:
    from rich.console import Console

    from stream_worker.cli.exchange import Conversation
    from stream_worker.settings import Settings

_REPLY_S = 120.0
_HELP = "/handoff  /handback  /reset  /why  /save FILE  /quit"

EPILOG = "Example: stream-worker chat --explain"


def chat(
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    explain: Annotated[bool, typer.Option(help="Show scores, prompt and cache under each reply.")] = False,
    conversation: Annotated[str | None, typer.Option(help="The conversation's id; a new one if left out.")] = None,
    tenant: TenantOption = "",
) -> None:
    """Chat with a running worker group.

    Deltas appear as they are generated; intent, slots and timings stand under each reply.
    """
    from stream_worker.settings.loader import load_settings

    settings = load_settings(settings_file(config), flags(kafka))
    require_tenant(tenant, tenants=settings.admission.tenants)
    converse(settings, conversation or new_id(), tenant=tenant, explain=explain, lines=None)


def new_id() -> str:
    return f"chat-{uuid4().hex[:8]}"


def converse(
    settings: "Settings", conversation_id: str, *, tenant: str = "", explain: bool, lines: list[str] | None
) -> None:
    """A conversation from given lines, or from the keyboard until it ends."""
    from rich.console import Console
    from rich.markup import escape

    from stream_worker.cli.exchange import Conversation
    from stream_worker.kafka.gateway import Gateway

    console = Console()
    gateway = Gateway(settings)
    try:
        gateway.follow()
        talk = Conversation(
            gateway,
            console,
            conversation_id,
            tenant=tenant,
            explain=explain,
            expects_analysis=settings.outputs.analysis,
        )
        if lines is not None:
            for line in lines:
                console.print(f"[bold green]you[/] {escape(line)}", highlight=False)
                talk.say(line, _REPLY_S)
            return
        console.print(f"[dim]{_HELP}[/]")
        _read_keyboard(console, talk)
    finally:
        gateway.close()


def _read_keyboard(console: "Console", talk: "Conversation") -> None:
    while True:
        try:
            # A terminal may send bytes that are no UTF-8; an event must not.
            text = console.input("[bold green]you[/] ").strip().encode("utf-8", "replace").decode()
        except EOFError:
            console.print()
            return
        if text == "/quit":
            return
        if text.startswith("/"):
            _command(console, talk, text)
        elif text:
            talk.say(text, _REPLY_S)


def _command(console: "Console", talk: "Conversation", text: str) -> None:
    from stream_worker.cli.exchange import evidence

    name, _, argument = text.partition(" ")
    match name:
        case "/handoff" | "/handback":
            done = "a human has it" if name == "/handoff" else "the bot has it again"
            _signal(console, talk, name[1:], done)
        case "/reset":
            _signal(console, talk, "erasure", "everything kept of this conversation is gone")
        case "/why":
            last = next((each.analysis for _, each in reversed(talk.exchanges) if each.analysis), None)
            for line in evidence(last) if last else ["nothing was answered yet"]:
                console.print(f"[dim]    {line}[/]", soft_wrap=True)
        case "/save" if argument:
            _save(console, talk, Path(argument))
        case _:
            console.print(f"[dim]{_HELP}[/]")


def _signal(console: "Console", talk: "Conversation", kind: str, done: str) -> None:
    from stream_worker.outcome import Outcome

    outcome = talk.signal(kind, _REPLY_S).outcome
    console.print(f"[dim]({done if outcome is Outcome.SILENT else outcome.value})[/]")


def _save(console: "Console", talk: "Conversation", file: Path) -> None:
    from rich.markup import escape

    try:
        save(talk, file)
    except OSError as error:
        console.print(f"[dim](not saved in {escape(str(file))}: {error.strerror})[/]", highlight=False)
    else:
        console.print(f"[dim](saved as a golden conversation in {escape(str(file))})[/]", highlight=False)


def save(talk: "Conversation", file: Path) -> None:
    """The conversation as a golden test: what was said, and what is expected to be understood."""
    from ruamel.yaml import YAML

    steps: list[dict[str, object]] = []
    for text, exchange in talk.exchanges:
        steps.append({"user": text})
        analysis = exchange.analysis
        if analysis is not None:
            expected: dict[str, object] = {"intent": analysis.intent}
            if analysis.slots:
                expected["slots"] = {
                    slot.name: {"value": slot.value, "carried": True} if slot.carried else slot.value
                    for slot in analysis.slots
                }
            steps.append({"expect": expected})
        elif exchange.metric is not None and exchange.reply is None:
            steps.append({"expect": {"silent": True}})
    with file.open("w", encoding="utf-8") as out:
        YAML().dump({"conversation": talk.id, "steps": steps}, out)
