"""What the commands of `nlu` share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_worker.settings.understanding import UnderstandingSettings

if TYPE_CHECKING:
    from stream_worker.inference.heads import Heads

DEFAULTS = UnderstandingSettings()

EncoderOption = Annotated[
    str,
    typer.Option(
        "--encoder",
        help="A folder, a Hugging Face name, `all-minilm-l6-v2` or `multilingual-e5-small`; "
        "`auto`: what was trained on, or what suits the examples.",
    ),
]
ModelArgument = Annotated[Path, typer.Argument(help="The folder that `nlu train` wrote.")]
DataArgument = Annotated[
    list[Path], typer.Argument(help="Files or folders of examples: Rasa NLU YAML, JSON lines, CSV.")
]


def load(model: Path, encoder: str) -> "Heads":
    """Raises Missing or Misconfigured."""
    from stream_worker.inference.heads_files import encoder_name_of, load_heads
    from stream_worker.inference.text_encoder import load_text_encoder

    name = encoder_name_of(model) if encoder == "auto" else encoder
    return load_heads(model, load_text_encoder(name, DEFAULTS.max_tokens, progress=note))


def note(text: str) -> None:
    """Progress goes where it does not mix with results."""
    typer.echo(text, err=True)
