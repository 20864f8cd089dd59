"""`test`: golden conversations of a bot, on a whole worker in memory."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_worker.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from stream_worker.golden.judge import ModelJudge

EPILOG = "Example: stream-worker test"


class EngineChoice(StrEnum):
    SCRIPTED = "scripted"
    REAL = "real"


def test(
    bot: Annotated[Path, typer.Argument(help="The bot's folder, with bot.yaml.")] = Path(),
    conversations: Annotated[
        list[Path] | None,
        typer.Option("--conversations", help="Files or folders; tests/conversations of the bot if left out."),
    ] = None,
    name: Annotated[str | None, typer.Option("-k", help="Only conversations whose name holds this.")] = None,
    engine: Annotated[
        EngineChoice, typer.Option(help="Who generates: a script, or the engine of the settings.")
    ] = EngineChoice.SCRIPTED,
    repeat: Annotated[int, typer.Option(min=1, help="Play each so many times, and tell which are flaky.")] = 1,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page of HTML to this file.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Rewrite what is expected to what was seen.")] = False,
    judge: Annotated[str | None, typer.Option(help="An OpenAI-compatible server that judges replies.")] = None,
    judge_model: Annotated[str, typer.Option(help="Its model.")] = "default",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what was seen of every step.")] = False,
) -> None:
    """Play golden conversations, and compare what comes of them.

    The same worker as in production, in memory, with a clock of its own; calls are answered from the files.
    Exit code 1 when one fails, 5 when there is none.
    """
    from stream_worker.golden.conversation import load_goldens
    from stream_worker.golden.report import html as html_of
    from stream_worker.golden.report import junit as junit_of
    from stream_worker.golden.report import lines
    from stream_worker.golden.suite import Suite
    from stream_worker.golden.tested import CONVERSATIONS, remember

    folders = conversations or [bot / CONVERSATIONS]
    goldens = [each for each in load_goldens([path for path in folders if path.exists()]) if (name or "") in each.name]
    if not goldens:
        typer.echo(f"nothing to test: there is no conversation in {', '.join(map(str, folders))}", err=True)
        raise typer.Exit(ExitCode.NOTHING_TO_TEST)
    suite = Suite(bot, _note, real=engine is EngineChoice.REAL)
    report = suite.run(goldens, repeat, _judge(judge, judge_model) if judge else None)
    if verbose:
        for played in report.played:
            typer.echo(played.golden.name)
            for look in played.looks:
                typer.echo(f"  {look.said}\n" + "\n".join(f"    | {line}" for line in look.seen.lines()))
    for line in lines(report):
        typer.echo(line)
    if judge is None and any(step.expect and step.expect.judge for each in goldens for step in each.file.steps):
        _note("some steps want a judge: they were not judged (--judge)")
    if junit is not None:
        junit.write_text(junit_of(report), encoding="utf-8")
    if html is not None:
        html.write_text(html_of(report), encoding="utf-8")
    if update:
        for played in report.rounds[0]:
            _update(played)
    if report.passed and not conversations and not name:
        remember(bot)
    if not report.passed and not update:
        raise typer.Exit(ExitCode.FINDINGS)


def _judge(server: str, model: str) -> "ModelJudge":
    from stream_worker.golden.judge import ModelJudge

    return ModelJudge(server, model)


def _update(played: object) -> None:
    from stream_worker.golden.play import Played
    from stream_worker.golden.update import diff, updated

    assert isinstance(played, Played)
    old, new = played.golden.document.raw.decode(), updated(played)
    if new != old:
        typer.echo(diff(played.golden.path, old, new))
        played.golden.path.write_text(new, encoding="utf-8")


def _note(text: str) -> None:
    typer.echo(text, err=True)
