"""`nlu evaluate` and `nlu validate`: how well is it understood, and what is wrong with the examples."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from stream_worker.cli.exit_codes import ExitCode
from stream_worker.cli.nlu_options import DEFAULTS, DataArgument, EncoderOption, ModelArgument, load, note
from stream_worker.cli.output import Format, FormatOption, print_rows
from stream_worker.cli.outputs.understanding import EvaluationFigures, ExampleFinding, Score

if TYPE_CHECKING:
    from stream_worker.inference.heads import Heads
    from stream_worker.inference.text_encoder import TextEncoder
    from stream_worker.training.evaluate import Evaluation
    from stream_worker.training.scores import Change

_COLUMNS = ("kind", "name", "examples", "precision", "recall", "f1")
_LAST_RUN = "evaluation.json"


def evaluate(
    model: ModelArgument = Path("heads"),
    data: DataArgument = [Path("nlu.yml")],  # noqa: B006  # never changed
    folds: Annotated[
        int,
        typer.Option("--folds", min=0, help="Train anew on parts of DATA instead, so many times, and ask the rest."),
    ] = 0,
    report: Annotated[
        Path | None, typer.Option("--report", help="A folder for evaluation.json and a page that shows it.")
    ] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(
            "--fail-under", min=0, max=1, help="End with 1 if the accuracy, or the F1 of the slots, is lower (0 to 1)."
        ),
    ] = None,
    encoder: EncoderOption = "auto",
    output: FormatOption = Format.TABLE,
) -> None:
    """Show how well examples are understood: intents, slots, scope, calibration, and the change from the last run.

    The last run is what MODEL/evaluation.json says of the same examples; the file is written anew.
    """
    from stream_worker.training.evaluate import cross_validate, evaluate
    from stream_worker.training.read import read_examples
    from stream_worker.training.report import last_verdicts, summary, write_report
    from stream_worker.training.scores import change
    from stream_worker.training.train import TrainingOptions

    if folds == 1:
        raise typer.BadParameter("one fold leaves nothing to train on; give 2 or more", param_hint="--folds")
    examples = read_examples(data)
    heads = load(model, encoder)
    if folds:
        options = TrainingOptions(heads.card.seed, bool(heads.card.tuned_layers), heads.card.rejected)
        result = cross_validate(examples, _untuned(heads), folds, options, note)
    else:
        result = evaluate(heads, examples)
    before = last_verdicts(model / _LAST_RUN)
    both = [verdict for verdict in result.verdicts if verdict.id in before]
    changed = change([before[verdict.id] for verdict in both], [verdict.right for verdict in both]) if both else None
    summed = summary(result, changed, {"model": str(model), "encoder": heads.card.encoder, "folds": folds})
    (model / _LAST_RUN).write_bytes(orjson.dumps(summed, option=orjson.OPT_INDENT_2))
    if report is not None:
        write_report(report, result, summed, heads)
        note(f"the report: {report / 'index.html'}")
    _print_evaluation(result, summed, changed, output)
    if fail_under is not None and result.lowest < fail_under:
        note(f"{result.lowest:.4f} is under {fail_under}")
        raise typer.Exit(ExitCode.FINDINGS)


def validate(
    data: DataArgument,
    encoder: EncoderOption = "auto",
    output: FormatOption = Format.TABLE,
) -> None:
    """Find what is wrong with examples: duplicates, tiny intents, likely wrong labels, slots never marked.

    Ends with 1 when something is found.
    """
    from stream_worker.inference.text_encoder import load_text_encoder
    from stream_worker.training.languages import choose_encoder
    from stream_worker.training.read import read_examples
    from stream_worker.training.validate import validate

    examples = read_examples(data)
    name = choose_encoder(examples).encoder if encoder == "auto" else encoder
    findings = validate(examples, load_text_encoder(name, DEFAULTS.max_tokens, progress=note))
    rows = [ExampleFinding(kind=one.kind.value, place=one.place, what=one.what) for one in findings]
    print_rows(rows, ("kind", "place", "what"), output)
    note(f"{len(findings)} findings in {len(examples.examples)} examples")
    if findings:
        raise typer.Exit(ExitCode.FINDINGS)


def _untuned(heads: "Heads") -> "TextEncoder":
    """The encoder as it was before these heads tuned it: each fold begins with it."""
    from stream_worker.inference.text_encoder import load_text_encoder

    if not heads.layers:
        return heads.encoder
    return load_text_encoder(heads.card.encoder_name, DEFAULTS.max_tokens)


def _print_evaluation(result: "Evaluation", summed: dict[str, Any], changed: "Change | None", output: Format) -> None:
    figures = EvaluationFigures(**{key: value for key, value in summed.items() if key != "verdicts"})
    rows = [Score(**score) for score in summed["scores"]]
    print_rows(rows, _COLUMNS, output, figures)
    if output is not Format.TABLE:
        return
    slots = f"slot F1 {result.slot_f1:.1%}, " if result.slots else ""
    note(
        f"{result.examples} examples: accuracy {result.accuracy:.1%}, {slots}"
        f"calibration error {result.calibration_error:.3f}, {result.milliseconds:.1f} ms a message"
    )
    if result.scope is not None:
        note(
            f"out of scope: area under ROC {result.scope.area_under_roc:.3f}; with 3% of the others rejected "
            f"{result.scope.found_at_false_alarms:.0%} are found, as it is set {result.scope.found:.0%} "
            f"with {result.scope.rejected:.1%}"
        )
    if changed is not None:
        note(f"since the last run: {changed.gained} more right, {changed.lost} fewer, McNemar p = {changed.p:.3f}")
