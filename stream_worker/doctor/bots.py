"""The bot files, and what was learnt for them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stream_worker.doctor.finding import Finding, Group, Says
from stream_worker.errors import StreamWorkerError
from stream_worker.settings import Settings
from stream_worker.stages.parsing import parser_for

_EXAMPLES = "nlu.yml"
_SAYS = Says(Group.BOT)


def check(settings: Settings) -> Iterator[Finding]:
    from stream_worker.bot.loader import load_bots

    try:
        bots = load_bots(settings)
    except StreamWorkerError as error:
        yield _SAYS.error("files", str(error), "The worker stops at its start.", "stream-worker config check")
        return
    names = ", ".join(f"{bot.name} ({len(bot.intents)} intents)" for bot in bots.all)
    yield _SAYS.fine("files", f"valid: {names}")
    for folder in sorted({entry.file.parent for entry in settings.bots}):
        yield from _conversations(folder)
    for bot in bots.all:
        if bot.understanding is not None:
            yield _understanding(bot.name, bot.understanding, frozenset(bot.intents))
            yield from _examples(bot.name, Path(bot.understanding), bot.languages)


def _conversations(folder: Path) -> Iterator[Finding]:
    """Golden conversations are no part of an installation; where they lie beside the bot they are to have passed."""
    from stream_worker.golden.tested import have_passed

    passed = have_passed(folder)
    if passed is None:
        return
    if passed:
        yield _SAYS.fine("conversations", f"the golden conversations of {folder} have passed")
    else:
        yield _SAYS.warning(
            "conversations",
            f"the golden conversations of {folder} have not passed since it or they changed, or not on this machine",
            "Nobody knows whether the bot still does what was agreed.",
            f"stream-worker test {folder}",
        )


def _understanding(bot: str, folder: str, intents: frozenset[str]) -> Finding:
    train = f"stream-worker nlu train nlu.yml -o {folder}"
    learnt = _learnt(Path(folder))
    if learnt is None:
        what = f"{bot}: there is no trained understanding in {folder}, or none that this version reads"
        return _SAYS.error("understanding", what, "The worker stops at its start.", train)
    if missing := sorted(intents - learnt):
        return _SAYS.error(
            "understanding",
            f"{bot}: the trained understanding knows nothing of {', '.join(missing)}",
            "These intents are in the bot file, and will never be found.",
            f"add examples of them, then: {train}",
        )
    if unused := sorted(learnt - intents):
        return _SAYS.warning(
            "understanding",
            f"{bot}: learnt, and in no rule of the bot file: {', '.join(unused)}",
            "Messages of these intents get the fallback's answer.",
            "add them to `intents` of the bot file, or take their examples out",
        )
    return _SAYS.fine("understanding", f"{bot}: {len(learnt)} intents were learnt")


def _examples(bot: str, heads: Path, languages: Sequence[str]) -> Iterator[Finding]:
    """What was learnt against the examples that lie beside it, where they do."""
    from stream_worker.training.read import read_examples

    file, card = heads.parent / _EXAMPLES, _card(heads)
    if card is None or not file.is_file():
        return
    train = f"stream-worker nlu train {file} -o {heads}"
    try:
        examples = read_examples([file])
    except StreamWorkerError as error:
        yield _SAYS.error("examples", f"{bot}: {error}", "It can be trained no more as it is.", "mend the file")
        return
    if card.get("examples_hash") != examples.hash:
        yield _SAYS.warning(
            "examples",
            f"{bot}: {file} is not what {heads} was trained from",
            "The bot understands by examples that are no longer these.",
            f"{train}, then restart the workers",
        )
    else:
        yield _SAYS.fine("examples", f"{bot}: trained from {file} as it is")
    yield from _languages(bot, [example.text for example in examples.examples], languages, file)


def _languages(bot: str, texts: Sequence[str], languages: Sequence[str], file: Path) -> Iterator[Finding]:
    """A bot of one language is taken at its word: nothing detects what that is."""
    if len(languages) < 2:
        return
    parser = parser_for(tuple(languages))
    seen = {parser.parse(text).language for text in texts}
    if absent := [language for language in languages if language not in seen]:
        yield _SAYS.warning(
            "languages",
            f"{bot}: {file} has no example in {', '.join(absent)}",
            "Messages in these languages are understood by chance, or are out of scope.",
            f"add examples in each of: {', '.join(absent)}; or take them out of `languages` in the bot file",
        )
    else:
        yield _SAYS.fine("languages", f"{bot}: examples in {', '.join(languages)}")


def _learnt(folder: Path) -> frozenset[str] | None:
    card = _card(folder)
    try:
        return None if card is None else frozenset(card["intents"])
    except (KeyError, TypeError):
        return None


def _card(folder: Path) -> Mapping[str, Any] | None:
    """What stands beside the weights: loading the heads themselves would take torch."""
    try:
        found = json.loads((folder / "heads.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
