"""`completion`: what a shell needs to complete commands and options."""

from enum import StrEnum
from typing import Annotated

import typer

EPILOG = "Example: stream-worker completion bash"


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="The shell that is to complete.")]) -> None:
    """Print the completion of a shell; its first lines say where it goes. Nothing is asked of a broker."""
    from typer._completion_shared import get_completion_script

    script = get_completion_script(prog_name="stream-worker", complete_var="_STREAM_WORKER_COMPLETE", shell=shell.value)
    where = {
        Shell.BASH: 'add to ~/.bashrc: eval "$(stream-worker completion bash)"',
        Shell.ZSH: 'add to ~/.zshrc: eval "$(stream-worker completion zsh)"',
        Shell.FISH: "stream-worker completion fish > ~/.config/fish/completions/stream-worker.fish",
    }[shell]
    typer.echo(f"# {where}\n{script}")
