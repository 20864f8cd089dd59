"""`nlu`: train the understanding from examples, evaluate it, and try it."""

import io
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from stream_worker.cli.output import Format, print_json, print_rows
from stream_worker.settings.understanding import UnderstandingSettings

if TYPE_CHECKING:
    from stream_worker.inference.frozen import FrozenEncoder
    from stream_worker.inference.heads import Heads, Understanding
    from stream_worker.stages.parsing import Parsed
    from stream_worker.training.evaluate import Evaluation

app = typer.Typer(help="Train, evaluate and try the understanding.", no_args_is_help=True, rich_markup_mode="rich")

_DEFAULTS = UnderstandingSettings()
_LANGUAGES = ("en", "zh", "ja", "ko", "ar", "hi", "ru")
"""One of each common script, told apart by their letters; a short text says too little about more."""

_READ_BYTES = 16 * 1024
_COLUMNS = ("kind", "name", "examples", "precision", "recall", "f1")


class EvaluationFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


EncoderOption = Annotated[str, typer.Option("--encoder", help="A folder, a Hugging Face name, or `all-minilm-l6-v2`.")]
SeedOption = Annotated[int, typer.Option("--seed", help="The same seed gives the same result.")]


@app.command(epilog="Example: stream-worker nlu train nlu.yml -o heads")
def train(
    data: Annotated[list[Path], typer.Argument(help="Files or folders of examples, Rasa NLU YAML 3.1.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder for what was learnt.")],
    encoder: EncoderOption = _DEFAULTS.encoder or "",
    seed: SeedOption = 0,
) -> None:
    """Train intents, scope and slots, in seconds; stored as safetensors and JSON."""
    from stream_worker.inference.frozen import load_frozen
    from stream_worker.inference.heads import save_heads
    from stream_worker.training.rasa_yaml import read_examples
    from stream_worker.training.train import train

    examples = read_examples(data)
    _note("loading the encoder")
    heads = train(examples, load_frozen(encoder, _DEFAULTS.max_tokens, _note), seed, _note)
    save_heads(heads, output)
    typer.echo(
        f"Trained {len(heads.card.intents)} intents and {len(examples.slot_names)} slots "
        f"from {len(examples.examples)} examples: {output}"
    )


@app.command(epilog="Example: stream-worker nlu evaluate heads nlu.yml --folds 5")
def evaluate(
    model: Annotated[Path, typer.Argument(help="The folder that `nlu train` wrote.")] = Path("heads"),
    data: Annotated[list[Path], typer.Argument(help="Files or folders of examples.")] = [Path("nlu.yml")],  # noqa: B006
    encoder: EncoderOption = _DEFAULTS.encoder or "",
    folds: Annotated[
        int,
        typer.Option("--folds", min=0, help="Train anew on parts of DATA instead, so many times, and ask the rest."),
    ] = 0,
    output: Annotated[EvaluationFormat, typer.Option("-o", "--output", help="How to print.")] = EvaluationFormat.TABLE,
) -> None:
    """Show how many intents and slots of examples are understood."""
    from stream_worker.training.evaluate import cross_validate, evaluate
    from stream_worker.training.rasa_yaml import read_examples

    if folds == 1:
        raise typer.BadParameter("one fold leaves nothing to train on; give 2 or more", param_hint="--folds")
    examples = read_examples(data)
    frozen, heads = _load(model, encoder)
    result = cross_validate(examples, frozen, folds, heads.card.seed) if folds else evaluate(heads, frozen, examples)
    _print_evaluation(result, output)


@app.command(epilog="Example: echo 'Will it rain in Beijing?' | stream-worker nlu parse heads")
def parse(
    model: Annotated[Path, typer.Argument(help="The folder that `nlu train` wrote.")],
    encoder: EncoderOption = _DEFAULTS.encoder or "",
    language: Annotated[
        list[str] | None,
        typer.Option(
            "--language",
            help=f"A language that texts may have; several by repeating it. Without: {', '.join(_LANGUAGES)}.",
        ),
    ] = None,
) -> None:
    """Read a text a line, and write what is understood of it, one JSON object a line."""
    from stream_worker.stages.parsing import Parser

    frozen, heads = _load(model, encoder)
    parser = Parser(tuple(language or _LANGUAGES))
    for texts in _lines(cast(io.BufferedIOBase, sys.stdin.buffer)):
        understood = heads.understand(texts, frozen.read_all(texts))
        rows = [_row(text, parser.parse(text), one) for text, one in zip(texts, understood, strict=True)]
        print_rows(rows, (), Format.JSONL)


def _lines(stream: io.BufferedIOBase) -> Iterator[list[str]]:
    """The lines, as many at once as are there: a file is read in batches, and who types waits for no other line."""
    rest = b""
    while piece := stream.read1(_READ_BYTES):
        *whole, rest = (rest + piece).split(b"\n")
        if whole:
            yield [_text(line) for line in whole]
    if rest:
        yield [_text(rest)]


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r\n")


def _load(model: Path, encoder: str) -> "tuple[FrozenEncoder, Heads]":
    from stream_worker.inference.frozen import load_frozen
    from stream_worker.inference.heads import load_heads

    frozen = load_frozen(encoder, _DEFAULTS.max_tokens, _note)
    return frozen, load_heads(model, frozen.version)


def _row(text: str, parsed: "Parsed", understood: "Understanding") -> dict[str, object]:
    return {
        "text": text,
        "language": parsed.language,
        "intents": [{"name": intent.name, "score": intent.score} for intent in understood.intents],
        "scope": understood.scope,
        "in_scope": understood.in_scope,
        "slots": [
            {"name": slot.name, "value": slot.value, "start": slot.start, "end": slot.end, "score": slot.score}
            for slot in understood.slots
        ],
    }


def _print_evaluation(result: "Evaluation", output: EvaluationFormat) -> None:
    rows = [
        {
            "kind": kind,
            "name": name,
            "examples": counts.right + counts.missed,
            "precision": round(counts.precision, 4),
            "recall": round(counts.recall, 4),
            "f1": round(counts.f1, 4),
        }
        for kind, group in (("intent", result.intents), ("slot", result.slots))
        for name, counts in group.items()
    ]
    if output is EvaluationFormat.JSON:
        print_json(
            {"examples": result.examples, "accuracy": result.accuracy, "slot_f1": result.slot_f1, "scores": rows}
        )
        return
    print_rows(rows, _COLUMNS, Format.TABLE)
    _note(f"{result.examples} examples: accuracy {result.accuracy:.1%}, slot F1 {result.slot_f1:.1%}")


def _note(text: str) -> None:
    """Progress goes where it does not mix with results."""
    typer.echo(text, err=True)
