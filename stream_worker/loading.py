"""From settings to what the device thread runs, and the prompter that fits it.

Files are found at once, so that a missing model ends the start with its
error; weights are loaded later, on the device thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from stream_worker.bot.bot import Bot
from stream_worker.clock import Clock
from stream_worker.inference.device import Models
from stream_worker.inference.models import resolve_model
from stream_worker.inference.scripted import ScriptedStepper
from stream_worker.inference.stepper import Encoder, Stepper
from stream_worker.settings import Settings
from stream_worker.stages.prompter import IdPrompter, MessagePrompter, Prompter

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Loading:
    models: Models
    prompter: Prompter


def load(settings: Settings, bots: Sequence[Bot], cache: Path, clock: Clock, progress: Progress) -> Loading:
    """Raises Missing or Misconfigured when a model is not there or does not fit."""
    stepper, prompter = _stepper(settings, bots, cache, clock, progress)
    heads = sorted({bot.understanding for bot in bots if bot.understanding is not None})
    models = Models(
        stepper=stepper, encoder=lambda: _encoder(settings, heads), max_texts=settings.understanding.max_batch
    )
    return Loading(models, prompter)


def _stepper(
    settings: Settings, bots: Sequence[Bot], cache: Path, clock: Clock, progress: Progress
) -> tuple[Callable[[], Stepper], Prompter]:
    engine = settings.engine
    match engine.kind:
        case "scripted":
            seconds = engine.scripted_seconds_per_token
            return lambda: ScriptedStepper(clock, seconds=lambda _: seconds), MessagePrompter()
        case "torch":
            from stream_worker.inference.loading import torch_stepper
            from stream_worker.inference.tokenizer import load_tokenizer

            files = resolve_model(engine.model, engine.revision, cache, progress)
            tokenizer = load_tokenizer(files.folder)
            chat_format = tokenizer.chat_format()
            longest_reply = max(bot.sampling.max_new_tokens for bot in bots)
            prompter = IdPrompter(chat_format, tokenizer, max(1, engine.max_context_tokens - longest_reply))
            return lambda: torch_stepper(files, tokenizer, chat_format, engine, settings.device, clock), prompter
        case _:
            assert_never(engine.kind)


def _encoder(settings: Settings, heads: list[str]) -> Encoder | None:
    name = settings.understanding.encoder
    if not heads or name is None:
        return None
    from stream_worker.inference.encoder import load_encoder

    return load_encoder(name, heads, settings.understanding.max_tokens)
