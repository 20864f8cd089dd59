"""`dlq`: look through dead letters, send them back, put them aside."""

import re
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from stream_worker.cli.exit_codes import ExitCode
from stream_worker.cli.options import ConfigOption, KafkaOption, flags, settings_file
from stream_worker.cli.output import Format, FormatOption, print_one, print_rows
from stream_worker.cli.outputs.group import LetterRow, LetterShown
from stream_worker.outcome import DeadLetterReason

if TYPE_CHECKING:
    from stream_worker.kafka.letters import Fate, Letter, Wanted
    from stream_worker.settings import Settings

app = typer.Typer(help="Look through dead letters, send them back, put them aside.", no_args_is_help=True)

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_COLUMNS = ("letter", "at", "reason", "conversation", "bot", "source", "bytes", "fate")

ReasonOption = Annotated[list[DeadLetterReason] | None, typer.Option("--reason", help="Of these reasons.")]
SinceOption = Annotated[str, typer.Option("--since", help="Not before: `2h`, `3d`, or an ISO date and time, UTC.")]
UntilOption = Annotated[str, typer.Option("--until", help="Before: as `--since`.")]
BotOption = Annotated[str, typer.Option("--bot", help="Of this bot.")]
ConversationOption = Annotated[str, typer.Option("--conversation", help="Of this conversation: the record's key.")]
LetterOption = Annotated[list[str] | None, typer.Option("--letter", help="This one, as `list` names it: 0/0.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list", epilog="Example: stream-worker dlq list --reason turn_timeout --since 2h -o json")
def list_letters(
    reason: ReasonOption = None,
    since: SinceOption = "",
    until: UntilOption = "",
    bot: BotOption = "",
    conversation: ConversationOption = "",
    all_: Annotated[bool, typer.Option("--all", help="Those that were redriven or dropped, too.")] = False,
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """List dead letters, oldest event first. Nothing of a message is shown."""
    from stream_worker.kafka.letters import Fate

    fates = frozenset(Fate) if all_ else frozenset({Fate.OPEN})
    _, letters = _find(config, kafka, _wanted(reason, since, until, bot, conversation, None, fates))
    print_rows([_row(letter) for letter in letters], _COLUMNS, output)


@app.command(epilog="Example: stream-worker dlq show 0/0")
def show(
    letter: Annotated[str, typer.Argument(help="Its name, as `list` gives it.")],
    show_content: Annotated[bool, typer.Option("--show-content", help="Print key, headers and value, too.")] = False,
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show one dead letter; what a person wrote only with `--show-content`."""
    from stream_worker.kafka.letters import Fate, Wanted

    _, letters = _find(config, kafka, Wanted(places=frozenset({letter}), fates=frozenset(Fate)))
    if not letters:
        typer.echo(f"There is no dead letter {letter}: `stream-worker dlq list --all` names them.", err=True)
        raise typer.Exit(ExitCode.FINDINGS)
    found = letters[0]
    record = found.record
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    shown = LetterShown(
        **asdict(_row(found)),
        message=found.message,
        truncated=found.is_truncated,
        headers=headers if show_content else None,
        value=(record.value or b"").decode(errors="replace") if show_content else None,
    )
    print_one(shown, output)


@app.command(epilog="Example: stream-worker dlq redrive --reason turn_timeout --since 2h --dry-run")
def redrive(
    reason: ReasonOption = None,
    since: SinceOption = "",
    until: UntilOption = "",
    bot: BotOption = "",
    conversation: ConversationOption = "",
    letter: LetterOption = None,
    again: Annotated[bool, typer.Option("--again", help="Those that were redriven or dropped before, too.")] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Send letters back to the input as they came, in their order, each marked so that it is not sent twice."""
    from stream_worker.kafka.letters import Fate

    wanted = _wanted(reason, since, until, bot, conversation, letter, frozenset(Fate))
    settings, found = _find(config, kafka, wanted)
    before = [each for each in found if each.fate is not Fate.OPEN]
    if before and letter and not again:
        names = ", ".join(f"{each.place} ({each.fate})" for each in before)
        typer.echo(f"Refused: {names} before; give --again to send it once more.", err=True)
        raise typer.Exit(ExitCode.UNSAFE)
    cut = [each for each in found if each.is_truncated]
    if cut:
        names = ", ".join(f"{each.place} of {each.source}" for each in cut)
        typer.echo(f"Left out, as they were too large to be kept whole: {names}", err=True)
    chosen = [each for each in found if (again or each.fate is Fate.OPEN) and not each.is_truncated]
    if _is_meant("Redrive", chosen, dry_run=dry_run, yes=yes, output=output):
        from stream_worker.kafka.dead_letters import LetterDesk

        LetterDesk(settings).redrive(chosen)


@app.command(epilog="Example: stream-worker dlq drop --letter 0/0 --yes")
def drop(
    reason: ReasonOption = None,
    since: SinceOption = "",
    until: UntilOption = "",
    bot: BotOption = "",
    conversation: ConversationOption = "",
    letter: LetterOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Mark letters as done with: they are not listed any more, and go when the topic's retention is over."""
    from stream_worker.kafka.letters import Fate

    wanted = _wanted(reason, since, until, bot, conversation, letter, frozenset({Fate.OPEN}))
    settings, chosen = _find(config, kafka, wanted)
    if _is_meant("Drop", chosen, dry_run=dry_run, yes=yes, output=output):
        from stream_worker.kafka.dead_letters import LetterDesk

        LetterDesk(settings).drop(chosen)


def _wanted(
    reasons: list[DeadLetterReason] | None,
    since: str,
    until: str,
    bot: str,
    conversation: str,
    places: list[str] | None,
    fates: "frozenset[Fate]",
) -> "Wanted":
    from stream_worker.kafka.letters import Wanted

    return Wanted(
        reasons=frozenset(each.value for each in reasons or ()),
        since_ms=_moment(since, "--since") or 0,
        until_ms=_moment(until, "--until"),
        bot=bot,
        conversation=conversation,
        places=frozenset(places or ()),
        fates=fates,
    )


def _find(config: object, kafka: str | None, wanted: "Wanted") -> "tuple[Settings, list[Letter]]":
    from stream_worker.kafka.dead_letters import read_letters
    from stream_worker.settings.loader import load_settings

    settings = load_settings(settings_file(config), flags(kafka))  # type: ignore[arg-type]
    return settings, read_letters(settings).find(wanted)


def _row(letter: "Letter") -> LetterRow:
    return LetterRow(
        letter=letter.place,
        at=datetime.fromtimestamp(letter.record.timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        reason=letter.reason,
        conversation=letter.conversation,
        bot=letter.bot,
        source=letter.source,
        bytes=len(letter.record.value or b""),
        fate=letter.fate,
        redrives=letter.redrives,
    )


def _is_meant(what: str, letters: "list[Letter]", *, dry_run: bool, yes: bool, output: Format) -> bool:
    """Shows what is meant, and asks. Without a terminal nobody can answer: then nothing is changed."""
    if dry_run or not letters:
        print_rows([_row(letter) for letter in letters], _COLUMNS, output)
        return False
    if not yes:
        if not sys.stdin.isatty():
            typer.echo("Refused: this changes topics. Give --yes, or --dry-run to only look.", err=True)
            raise typer.Exit(ExitCode.UNSAFE)
        if not typer.confirm(f"{what} {len(letters)} dead letters?"):
            raise typer.Exit(ExitCode.FINDINGS)
    print_rows([_row(letter) for letter in letters], _COLUMNS, output)
    return True


def _moment(text: str, option: str) -> int | None:
    """Unix milliseconds of `2h` ago, or of an ISO date and time."""
    if not text:
        return None
    if found := re.fullmatch(r"(\d+)([smhd])", text):
        return time.time_ns() // 1_000_000 - int(found[1]) * _UNITS_MS[found[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text} is neither like 2h nor an ISO date and time", param_hint=option) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
