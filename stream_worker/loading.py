"""From settings to what the device thread runs, and the prompter that fits it.

Files are found at once, so that a missing model ends the start with its
error; weights are loaded later, on the device thread.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import assert_never

from stream_worker.async_runner import AsyncRunner
from stream_worker.bot.bot import Bot, ModelReply
from stream_worker.clock import Clock
from stream_worker.errors import Code, Misconfigured, Missing
from stream_worker.inference.device import DeviceThread, InlineDevice, Models
from stream_worker.inference.engine import Capabilities, Engine, Feature, Report
from stream_worker.inference.models import ModelFiles, resolve_model
from stream_worker.inference.reading import Decode
from stream_worker.inference.scripted import ScriptedStepper
from stream_worker.inference.split import SplitEngine
from stream_worker.inference.stepper import Encoder, NoStepper, Stepper
from stream_worker.inference.streaming import Source, StreamingEngine
from stream_worker.settings import Settings
from stream_worker.settings.engine import EngineSettings
from stream_worker.stages.prompter import IdPrompter, MessagePrompter, Prompter

Progress = Callable[[str], None]


MakeGenerator = Callable[[AsyncRunner, Report], Engine]


@dataclass(frozen=True, slots=True)
class Loading:
    """What the device thread runs, what fits it, and who generates where the device only encodes.

    `prompter` makes the one for so many tokens of context as the loaded engine has, prompt and reply together.
    """

    models: Models
    prompter: Callable[[int], Prompter]
    generator: MakeGenerator | None = None

    def engine(self, device: DeviceThread | InlineDevice, runner: AsyncRunner, report: Report) -> Engine:
        """The engine of the worker, over a device that runs `models`."""
        return device if self.generator is None else SplitEngine(device, self.generator(runner, report))


@dataclass(frozen=True, slots=True)
class _Generating:
    """Who generates: a stepper on the device, or somebody beside it."""

    stepper: Callable[[], Stepper]
    prompter: Callable[[int], Prompter]
    generator: MakeGenerator | None = None


def load(settings: Settings, bots: Sequence[Bot], cache: Path, clock: Clock, progress: Progress) -> Loading:
    """Raises Missing or Misconfigured when a model is not there or does not fit."""
    generating = _generating(settings, bots, cache, clock, progress)
    heads: dict[str, set[str]] = {}
    for bot in bots:
        if bot.understanding is not None:
            heads.setdefault(bot.understanding, set()).update(bot.intents, bot.fills_slots)
    models = Models(
        stepper=generating.stepper,
        encoder=lambda: _encoder(settings, heads),
        max_texts=settings.understanding.max_batch,
    )
    return Loading(models, generating.prompter, generating.generator)


def check_features(bots: Sequence[Bot], capabilities: Capabilities) -> None:
    """Raises Misconfigured when a bot asks for what the engine cannot do."""
    for bot in bots:
        missing = sorted(_asked(bot) - capabilities.features)
        if missing:
            message = (
                f"bot {bot.name!r} asks for {', '.join(missing)}, which the engine of {capabilities.model} cannot do"
            )
            raise Misconfigured(Code.MODEL_UNSUITABLE, f"{message}: change its bot file or engine.kind")


def _asked(bot: Bot) -> set[Feature]:
    asked = {
        Feature.LOGIT_BIAS: bool(bot.sampling.logit_bias),
        Feature.LOG_PROBABILITIES: bot.sampling.log_probabilities,
        Feature.JSON_SCHEMA: any(
            isinstance(rule.reply, ModelReply) and rule.reply.json_schema is not None for rule in bot.rules
        ),
    }
    return {feature for feature, is_asked in asked.items() if is_asked}


def _generating(settings: Settings, bots: Sequence[Bot], cache: Path, clock: Clock, progress: Progress) -> _Generating:
    engine = settings.engine
    match engine.kind:
        case "scripted":
            seconds = engine.scripted_seconds_per_token
            return _Generating(lambda: ScriptedStepper(clock, seconds=lambda _: seconds), lambda _: MessagePrompter())
        case "openai":
            from stream_worker.inference.openai_engine import OpenAiSource

            asked = OpenAiSource(engine.openai, model=engine.model, max_context_tokens=engine.max_context_tokens)
            longest = max(bot.sampling.max_new_tokens for bot in bots)
            return _beside(
                lambda: asked,
                lambda tokens: MessagePrompter(prompt_limit(tokens, longest)),
                engine.openai.max_concurrent,
                clock,
            )
        case "torch" | "vllm":
            from stream_worker.inference.tokenizer import load_tokenizer

            files = resolve_model(engine.model, engine.revision, cache, progress)
            tokenizer = load_tokenizer(files.folder)
            chat_format = tokenizer.chat_format()
            longest_reply = max(bot.sampling.max_new_tokens for bot in bots)

            def prompter(tokens: int) -> Prompter:
                return IdPrompter(chat_format, tokenizer, prompt_limit(tokens, longest_reply))

            if engine.kind == "vllm":
                load_source = _vllm(files, engine, settings.device, tokenizer.decode, chat_format.end_ids)
                return _beside(load_source, prompter, engine.vllm.max_waiting, clock)
            from stream_worker.inference.loading import torch_stepper

            stepper = partial(torch_stepper, files, tokenizer, chat_format, engine, settings.device, clock)
            return _Generating(stepper, prompter)
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


def _beside(
    load_source: Callable[[], Source], prompter: Callable[[int], Prompter], most: int, clock: Clock
) -> _Generating:
    """Replies come as streams; the device only encodes."""
    return _Generating(
        NoStepper, prompter, lambda runner, report: StreamingEngine(load_source(), runner, report, clock, most)
    )


def _vllm(
    files: ModelFiles, engine: EngineSettings, device: str, decode: Decode, end_ids: frozenset[int]
) -> Callable[[], Source]:
    try:
        from stream_worker.inference.vllm_engine import vllm_source
    except ImportError as error:
        raise Missing(
            Code.MODEL_NOT_FOUND,
            f"engine.kind is vllm, and vLLM cannot be imported ({error}): install it, see docs/engines.md",
        ) from error
    return lambda: vllm_source(files, engine, decode, end_ids, on_cpu=device == "cpu")


def _encoder(settings: Settings, heads: Mapping[str, Collection[str]]) -> Encoder | None:
    name = settings.understanding.encoder
    if not heads or name is None:
        return None
    from stream_worker.inference.encoder import load_encoder
    from stream_worker.inference.evidence import EvidenceMethod

    evidence = settings.understanding.evidence
    method = None if evidence == "off" else EvidenceMethod(evidence)
    return load_encoder(name, heads, settings.understanding.max_tokens, method)
