"""`stream-worker`: the frame of all commands, and how errors become exit codes.

A command's module is imported only when that command runs, and heavy
libraries only inside it, so that `--help` is instant.
"""

import sys
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from stream_worker.cli.exit_codes import ExitCode, exit_code
from stream_worker.errors import StreamWorkerError


class Panel(StrEnum):
    START = "Start"
    RUN = "Run"
    UNDERSTAND = "Understand"
    TEST = "Test"
    OPERATE = "Operate"


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: the file of its name holds a function of its name, or a group called `app`."""

    name: str
    panel: Panel
    summary: str
    is_group: bool = False

    def load(self) -> Any:
        module = import_module(f"stream_worker.cli.{self.name}")
        if self.is_group:
            return get_group(module.app)
        single = typer.Typer(add_completion=False, rich_markup_mode="rich")
        single.command(self.name, epilog=getattr(module, "EPILOG", None))(getattr(module, self.name))
        return get_command(single)


COMMANDS = {
    entry.name: entry
    for entry in (
        Entry("demo", Panel.START, "Chat with the demo bot on an embedded Kafka."),
        Entry("init", Panel.START, "Write a new project: a bot, examples, tests, settings."),
        Entry("chat", Panel.START, "Chat with a running worker, and watch each reply being generated."),
        Entry("send", Panel.START, "Send one message as an event."),
        Entry("run", Panel.RUN, "Run a worker."),
        Entry("broker", Panel.RUN, "A real Kafka on this machine, without Java or Maven.", is_group=True),
        Entry("topics", Panel.RUN, "Create and check the topics.", is_group=True),
        Entry("config", Panel.RUN, "Check and show the settings.", is_group=True),
        Entry("nlu", Panel.UNDERSTAND, "Train, evaluate and try the understanding.", is_group=True),
        Entry("test", Panel.TEST, "Play golden conversations of a bot in memory."),
        Entry("health", Panel.OPERATE, "Ask a worker whether it is ready and alive."),
        Entry("doctor", Panel.OPERATE, "What is wrong here, why it matters, and what cures it."),
        Entry("status", Panel.OPERATE, "Show the group's members, partitions and lag."),
        Entry("lag", Panel.OPERATE, "How far behind each partition is, in records and in time."),
        Entry("tail", Panel.OPERATE, "Follow what workers publish."),
        Entry("conversation", Panel.OPERATE, "Where a conversation stands, and why it waits.", is_group=True),
        Entry("debug", Panel.OPERATE, "Gather what somebody needs who helps you.", is_group=True),
        Entry("dlq", Panel.OPERATE, "Look through dead letters, send them back, put them aside.", is_group=True),
        Entry("console", Panel.OPERATE, "Show conversations, evidence and the group in a browser."),
        Entry("schemas", Panel.OPERATE, "Write or check the schemas of all topics."),
        Entry("completion", Panel.OPERATE, "Completion for bash, zsh and fish."),
        Entry("version", Panel.OPERATE, "Show the versions of the worker and what it stands on."),
    )
}


class LazyGroup(TyperGroup):
    """Knows every command by its entry and imports only the one that runs."""

    _shows_help = False
    _resolves = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        # A shell that completes asks for every command's summary, and for the whole of the one that was typed.
        if self._shows_help or (ctx.resilient_parsing and not self._resolves):
            return _heading(entry)
        command = entry.load()
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # A shell that completes behind a misspelt command is offered nothing; it is not told off.
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            _refuse_command(args[0])
        self._resolves = True
        try:
            return super().resolve_command(ctx, args)
        finally:
            self._resolves = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._shows_help = True
        super().format_help(ctx, formatter)


app = typer.Typer(
    cls=LazyGroup,
    name="stream-worker",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Example: stream-worker demo --once 'What is the weather in Beijing?'",
)


@app.callback()
def _frame() -> None:
    """Exactly-once chat processing: Kafka in, language-model replies out."""


def main() -> NoReturn:
    """The entry point: an error of ours is one line and an exit code, never a traceback."""
    try:
        app(prog_name="stream-worker")
    except StreamWorkerError as error:
        _print_error(str(error))
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    sys.exit(ExitCode.FINE)


def _heading(entry: Entry) -> Any:
    """What the list of commands needs, without importing the command."""
    single = typer.Typer(add_completion=False, rich_markup_mode="rich")
    single.command(entry.name, help=entry.summary, rich_help_panel=entry.panel)(_frame)
    return get_command(single)


def _refuse_command(name: str) -> NoReturn:
    from rapidfuzz import process

    found = process.extractOne(name, list(COMMANDS), score_cutoff=50)
    nearest = f"did you mean `{found[0]}`?" if found else "`stream-worker --help` lists them"
    _print_error(f"there is no command `{name}`: {nearest}")
    raise typer.Exit(ExitCode.WRONG_USAGE)


def _print_error(text: str) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True)
    console.print(Text.assemble(("Error: ", "bold red"), text))
