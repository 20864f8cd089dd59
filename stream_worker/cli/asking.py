"""The question before something is changed."""

import sys

import typer

from stream_worker.cli.exit_codes import ExitCode


def ask_first(question: str) -> None:
    """Without a terminal nobody can answer: then nothing is changed."""
    if not sys.stdin.isatty():
        typer.echo("Refused: this changes something. Give --yes, or --dry-run to only look.", err=True)
        raise typer.Exit(ExitCode.UNSAFE)
    if not typer.confirm(question):
        raise typer.Exit(ExitCode.FINDINGS)
