"""Every code block of the docs is what it says it is: commands exist, settings load, events are events."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from ruamel.yaml import YAML

from stream_worker.bot.file import BotFile
from stream_worker.cli.app import COMMANDS
from stream_worker.contracts.decode import Arrival, DecodeRules, decode
from stream_worker.golden.conversation import ConversationFile
from stream_worker.record import Record
from stream_worker.settings import Settings
from stream_worker.settings.loader import load_settings
from stream_worker.training.rasa_yaml import read_rasa_yaml
from tests.doc_blocks import ROOT, Block, blocks, documents, simple_commands

#: What stands in the docs and is nobody's of ours; anything else is a slip of the pen.
OTHERS = frozenset({"cd", "docker", "echo", "helm", "openssl", "pip", "printf", "source", "test"})
#: Pictures of text.
DRAWN = frozenset({"", "text"})


def refuse_command(words: list[str]) -> None:
    """Raises where the shell, make or the command's own parser would refuse."""
    match words:
        case ["stream-worker", *arguments]:
            parse(arguments)
        case ["make", *targets]:
            known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
            assert {each for each in targets if "=" not in each} <= known
        case ["python", "-m", module, *_]:
            assert (ROOT / f"{module.replace('.', '/')}.py").exists()
        case ["python", script, *_]:
            assert (ROOT / script).exists()
        case [name, *arguments]:
            assert re.sub(r"^\.venv/bin/", "", name) in OTHERS
            for each in arguments:
                if each.startswith(("deploy/", "benchmarks/")) and each not in WRITTEN:
                    assert (ROOT / each).exists()


#: What a command of the docs makes.
WRITTEN = frozenset({"deploy/compose/token"})


def parse(arguments: list[str]) -> None:
    """As the shell would, without running it: an unknown command, option or argument fails."""
    command: Any = COMMANDS[arguments[0]].load()
    rest = arguments[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(arguments[0], list(rest), resilient_parsing=False)


def refuse_yaml(text: str, folder: Path) -> None:
    """A fragment of settings, of a bot file, of examples, or a conversation, by its first key."""
    value = YAML(typ="safe").load(text)
    keys = set(value)
    if "nlu" in keys:
        assert read_rasa_yaml(folder / "nlu.yml", text)
    elif "conversation" in keys and "steps" in keys:
        ConversationFile.model_validate(value)
    elif keys <= set(Settings.model_fields):
        refuse_settings(text, folder)
    else:
        assert keys <= set(BotFile.model_fields), keys
        BotFile.model_validate({"bot": "of-the-docs", **value})


def refuse_settings(text: str, folder: Path) -> None:
    """Secrets and variables that it names are there."""
    for number, path in enumerate(re.findall(r"\$\{file:([^}]+)\}", text)):
        secret = folder / f"secret-{number}"
        secret.write_text("of-nobody\n")
        text = text.replace(path, str(secret))
    file = folder / "stream-worker.yaml"
    file.write_text(text, encoding="utf-8")
    load_settings(file, {}, {})


def refuse_json(text: str, _: Path) -> None:
    event = orjson.loads(text)
    record = Record("chat.events", 0, 0, 1_790_000_000_000, event["conversation_id"].encode(), text.encode(), ())
    assert isinstance(decode(record, DecodeRules(max_text_chars=1_000)), Arrival)


def refuse_console(text: str, _: Path) -> None:
    commands = Block(ROOT, 0, "console", text).commands
    assert commands
    for line in commands:
        for words in simple_commands(line):
            refuse_command(words)


def refuse_python(text: str, _: Path) -> None:
    """Those that define something are run by the tests of their pages."""
    compile(text, "docs", "exec")


CHECKS: dict[str, Callable[[str, Path], None]] = {
    "console": refuse_console,
    "json": refuse_json,
    "python": refuse_python,
    "yaml": refuse_yaml,
}
SHOWN = [block for block in blocks(documents()) if block.language not in DRAWN]


@pytest.mark.parametrize("block", SHOWN, ids=map(str, SHOWN))
def test_a_block_is_what_it_says_it_is(block: Block, tmp_path: Path) -> None:
    CHECKS[block.language](block.text, tmp_path)


def test_no_command_hides_in_a_drawing() -> None:
    drawn = [block for block in blocks(documents()) if block.language in DRAWN]
    assert drawn
    for block in drawn:
        assert not re.search(r"^(\$ |stream-worker |docker |helm |make |pip )", block.text, re.MULTILINE), str(block)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("console", "$ stream-worker stats"),
        ("console", "$ stream-worker status --wach"),
        ("console", "$ stream-worker doctor | stream-worker dlq lst"),
        ("console", "$ make demoo"),
        ("console", "$ sudo stream-worker run"),
        ("console", "$ docker build --file deploy/Dockerfile ."),
        ("console", "no prompt"),
        ("json", '{"type": "erasur", "conversation_id": "c"}'),
        ("yaml", "engine: {kind: torchh}"),
        ("yaml", "intents: {order: {replies: model}}"),
        ("yaml", "conversation: c\nsteps: [{usr: hello}]"),
        ("yaml", "nothing: of ours"),
        ("python", "def f(:"),
    ],
)
def test_what_is_wrong_is_refused(language: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(Exception):  # noqa: B017 - each parser has its own
        CHECKS[language](text, tmp_path)
