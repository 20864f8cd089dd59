"""The bot files, and what was learnt for them."""

import json
from collections.abc import Iterator
from pathlib import Path

from stream_worker.doctor.finding import Finding, Group, Says
from stream_worker.errors import StreamWorkerError
from stream_worker.settings import Settings

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
    for bot in bots.all:
        if bot.understanding is not None:
            yield _understanding(bot.name, bot.understanding, frozenset(bot.intents))


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


def _learnt(folder: Path) -> frozenset[str] | None:
    """By the card beside the weights: loading the heads themselves would take torch."""
    try:
        return frozenset(json.loads((folder / "heads.json").read_text(encoding="utf-8"))["intents"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
