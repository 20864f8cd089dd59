"""From settings to what the device thread runs, and the prompter that fits it.

Files are found at once, so that a missing model ends the start with its
error; weights are loaded later, on the device thread.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import assert_never

from stream_worker.bot.bot import Bot
from stream_worker.clock import Clock
from stream_worker.errors import Code, Misconfigured
from stream_worker.inference.device import Models
from stream_worker.inference.engine import Engine
from stream_worker.inference.models import resolve_model
from stream_worker.inference.scripted import ScriptedStepper
from stream_worker.inference.stepper import Encoder, Stepper
from stream_worker.settings import Settings
from stream_worker.stages.prompter import IdPrompter, MessagePrompter, Prompter

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Loading:
    """`prompter` makes the one for so many tokens of context as the loaded engine has, prompt and reply together."""

    models: Models
    prompter: Callable[[int], Prompter]


def load(settings: Settings, bots: Sequence[Bot], cache: Path, clock: Clock, progress: Progress) -> Loading:
    """Raises Missing or Misconfigured when a model is not there or does not fit."""
    stepper, prompter = _stepper(settings, bots, cache, clock, progress)
    heads: dict[str, set[str]] = {}
    for bot in bots:
        if bot.understanding is not None:
            heads.setdefault(bot.understanding, set()).update(bot.intents, bot.fills_slots)
    models = Models(
        stepper=stepper, encoder=lambda: _encoder(settings, heads), max_texts=settings.understanding.max_batch
    )
    return Loading(models, prompter)


def _stepper(
    settings: Settings, bots: Sequence[Bot], cache: Path, clock: Clock, progress: Progress
) -> tuple[Callable[[], Stepper], Callable[[int], Prompter]]:
    engine = settings.engine
    match engine.kind:
        case "scripted":
            seconds = engine.scripted_seconds_per_token
            return lambda: ScriptedStepper(clock, seconds=lambda _: seconds), lambda _: MessagePrompter()
        case "torch":
            from stream_worker.inference.loading import torch_stepper
            from stream_worker.inference.tokenizer import load_tokenizer

            files = resolve_model(engine.model, engine.revision, cache, progress)
            tokenizer = load_tokenizer(files.folder)
            chat_format = tokenizer.chat_format()
            longest_reply = max(bot.sampling.max_new_tokens for bot in bots)
            stepper = partial(torch_stepper, files, tokenizer, chat_format, engine, settings.device, clock)
            return stepper, lambda tokens: IdPrompter(chat_format, tokenizer, prompt_limit(tokens, longest_reply))
        case _:
            assert_never(engine.kind)


def context_tokens(engine: Engine) -> int:
    """What the loaded engine has for one prompt and its reply."""
    capacity = engine.stats().kv_capacity_tokens
    context = engine.capabilities.max_context_tokens
    return min(context, capacity) if capacity else context


def prompt_limit(context_tokens: int, longest_reply: int) -> int:
    """The most tokens of a prompt. Raises Misconfigured where the longest reply leaves none."""
    if longest_reply >= context_tokens:
        raise Misconfigured(
            Code.MODEL_UNSUITABLE,
            f"a reply may have {longest_reply} tokens, but the engine has {context_tokens} for prompt and reply: lower "
            "max_new_tokens, or raise engine.kv_cache_bytes or engine.max_context_tokens as far as the model allows",
        )
    return context_tokens - longest_reply


def _encoder(settings: Settings, heads: Mapping[str, Collection[str]]) -> Encoder | None:
    name = settings.understanding.encoder
    if not heads or name is None:
        return None
    from stream_worker.inference.encoder import load_encoder

    return load_encoder(name, heads, settings.understanding.max_tokens)
