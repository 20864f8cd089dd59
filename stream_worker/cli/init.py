"""`init`: a project that tests green as it comes: a bot, examples, golden conversations, settings, a compose file."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stream_worker.cli.exit_codes import ExitCode

EPILOG = "Example: stream-worker init shop --template support"

_SCHEMAS = ".schemas"


class Template(StrEnum):
    WEATHER = "weather"
    SUPPORT = "support"
    BANK = "bank"
    HOME = "home"
    TUTOR = "tutor"


def init(
    folder: Annotated[Path, typer.Argument(metavar="NAME", help="The new folder; its name is the project's.")],
    template: Annotated[Template, typer.Option(help="What to begin with.")] = Template.SUPPORT,
) -> None:
    """Write a new project: a bot in English and Chinese, with examples, tests and settings.

    `stream-worker test` and `stream-worker nlu evaluate` are green in it as it comes.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        typer.echo(f"{folder} is there and not empty: name a new folder", err=True)
        raise typer.Exit(ExitCode.UNSAFE)
    written = write_project(folder, template.value)
    for name in written:
        typer.echo(f"  {folder / name}")
    typer.echo(f"Next:\n  cd {folder}\n  stream-worker test\n  stream-worker nlu evaluate\n  stream-worker run")


def write_project(folder: Path, template: str) -> list[str]:
    """The files of a template and those of every project; their names, in order."""
    from importlib.resources import files

    root = files("stream_worker") / "templates"
    texts = dict(_tree(root / template))
    values = {"name": folder.resolve().name, "template": template}
    for name, text in _tree(root / "project"):
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        texts[name] = text
    texts |= {f"{_SCHEMAS}/{name}": text for name, text in schemas().items()}
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return sorted(texts)


def schemas() -> dict[str, str]:
    """What editors complete and check the project's files with."""
    import orjson

    from stream_worker.bot.schema import bot_schema, schema_of
    from stream_worker.golden.conversation import ConversationFile
    from stream_worker.settings import Settings

    found = {
        "bot.schema.json": bot_schema(),
        "conversation.schema.json": schema_of(ConversationFile, "A golden conversation"),
        "settings.schema.json": schema_of(Settings, "The settings of stream_worker"),
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return {name: orjson.dumps(schema, option=options).decode() for name, schema in found.items()}


def _tree(folder: object) -> list[tuple[str, str]]:
    """Every text file below a folder of the package, by its path."""
    from importlib.resources.abc import Traversable

    assert isinstance(folder, Traversable)
    found: list[tuple[str, str]] = []
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.is_dir():
            found += [(f"{entry.name}/{name}", text) for name, text in _tree(entry)]
        else:
            found.append((entry.name, entry.read_text(encoding="utf-8")))
    return found
