"""What stands for the encoder in a run, and the bot that makes something of it. Pure: the checker has both, too."""

import re
from pathlib import Path

from stream_worker.bot.bot import Bot
from stream_worker.bot.loader import load_bot
from stream_worker.orders import Encode, Encoded, IntentScore, Result, SlotSpan, TurnRef
from stream_worker.settings import Settings

#: The command goes out with each reply of the model; the texts of a dead letter's fallback are no part of a
#: conversation. Nothing is forgotten by the clock, which jumps.
BOT = """
bot: chaos
understanding: heads
forget_after_s: 1000000000
slots:
  word: {shared: true}
intents:
  ask:
    slots: [word]
    reply: model
    emit:
      - command: note
        arguments: {from: chaos}
fallback:
  reply: model
  emit:
    - command: note
      arguments: {from: chaos}
"""

_NOBODY = TurnRef(0, 0, "", 0)
_WORD = re.compile(r"[A-Za-z]{6,}")


def understood(text: str, ref: TurnRef = _NOBODY) -> Encoded:
    """A question asks; a long word is a slot's value."""
    asks = "?" in text
    found = _WORD.search(text)
    return Encoded(
        ref=ref,
        intents=(IntentScore("ask", 0.9 if asks else 0.1),),
        in_scope=asks,
        scope=0.9 if asks else 0.1,
        slots=(SlotSpan("word", found.group(), found.start(), found.end(), 0.9),) if found else (),
        batch_size=1,
        seconds=0.0,
    )


class ScriptedEncoder:
    """Implements `Encoder`."""

    def encode(self, orders: list[Encode]) -> list[Result]:
        return [understood(order.text, order.ref) for order in orders]


def write_bot(folder: Path) -> Path:
    file = folder / "bot.yaml"
    file.write_text(BOT)
    return file


def chaos_bot(folder: Path) -> Bot:
    return load_bot(write_bot(folder), Settings.model_validate({"understanding": {"encoder": "scripted"}}))
