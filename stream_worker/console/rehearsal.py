"""The prompt of a turn, and the turn run again without effects: same prompt, seed and sampling, and nothing written.

Both read the conversation's state in Kafka when somebody asks. Prompts are spelt by the tokenizer that the settings
name; turns are run one at a time, on an engine of the console's own that is loaded for the first and kept.
"""

import itertools
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Protocol

from stream_worker.bot.bot import Bot, ModelReply
from stream_worker.bot.loader import load_bots
from stream_worker.cache import cache_folder
from stream_worker.calls.io_thread import IoThread
from stream_worker.clock import SystemClock
from stream_worker.console.prompt import Again, Shaded, exact_prompt, shaded
from stream_worker.contracts.analysis import Analysis, GenerationEvidence
from stream_worker.errors import Code, Misconfigured, StreamWorkerError
from stream_worker.inference.device import DeviceThread
from stream_worker.inference.engine import Engine
from stream_worker.inference.models import resolve_model
from stream_worker.kafka.conversation_reading import view_conversation
from stream_worker.loading import load
from stream_worker.orders import Cancel, Failed, Forget, Generate, Generated, Result, TurnRef
from stream_worker.settings import Settings
from stream_worker.tokens import Prompt, PromptIds, Sampling

_LOAD_S = 600.0
_KV_BYTES = 256 << 20
"""For one turn at a time."""


@dataclass(frozen=True, slots=True)
class Found:
    """A turn's prompt. `shaded` is None where it is no ids, or the tokenizer is not here: `why_not` says so."""

    prompt: Prompt
    shaded: Shaded | None = None
    why_not: str = ""


class Rehearsal(Protocol):
    """Finds prompts and runs turns again; `KafkaRehearsal` does. Raises StreamWorkerError where it cannot."""

    @property
    def may_run(self) -> bool:
        """Whether turns may be run again."""
        ...

    def find(self, key: str, analysis: Analysis) -> Found | None:
        """None where the conversation's state holds the prompt no more."""
        ...

    def again(self, key: str, analysis: Analysis) -> Again | None:
        """None where its prompt is not found."""
        ...


@dataclass(slots=True)
class KafkaRehearsal:
    settings: Settings
    may_run: bool
    _stage: "_Stage | None" = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, key: str, analysis: Analysis) -> Found | None:
        generation, prompt = analysis.generation, self._prompt(key, analysis)
        if prompt is None or generation is None:
            return None
        if not isinstance(prompt, PromptIds):
            return Found(prompt)
        try:
            with self._lock:
                return Found(prompt, self._shaded(prompt, generation, analysis.versions.model))
        except StreamWorkerError as error:
            return Found(prompt, why_not=str(error))

    def again(self, key: str, analysis: Analysis) -> Again | None:
        generation, prompt = analysis.generation, self._prompt(key, analysis)
        if prompt is None or generation is None:
            return None
        bot = self._bot(analysis)
        with self._lock:
            stage = self._stage = self._stage or _Stage(self.settings)
            generated = stage.run(prompt, _sampling(bot, analysis, generation), generation.seed)
        return Again(
            text=generated.text,
            ids=generated.ids,
            before=tuple(generation.sampled_ids),
            finish_reason=generated.finish_reason,
            seconds=generated.seconds,
            model=stage.model,
            has_same_bot=bot is not None and bot.version == analysis.versions.bot_version,
        )

    def _prompt(self, key: str, analysis: Analysis) -> Prompt | None:
        state = view_conversation(self.settings, key).state
        bot = self._bot(analysis)
        return None if state is None else exact_prompt(state, analysis, bot.system if bot is not None else "")

    def _bot(self, analysis: Analysis) -> Bot | None:
        """The bot that the turn had, as its file is now."""
        with suppress(Misconfigured):
            return next((bot for bot in load_bots(self.settings).all if bot.name == analysis.versions.bot), None)
        return None

    def _shaded(self, prompt: PromptIds, generation: GenerationEvidence, model: str) -> Shaded:
        from stream_worker.inference.tokenizer import load_tokenizer

        engine = self.settings.engine
        files = resolve_model(engine.model, engine.revision, cache_folder("models"), lambda _: None)
        if files.version != model:
            raise Misconfigured(
                Code.MODEL_UNSUITABLE, f"the turn was answered by {model}, and the settings here name {files.version}"
            )
        return shaded(prompt.ids, generation.cached_tokens, load_tokenizer(files.folder).spell)


class _Stage:
    """An engine like a worker's, for one turn at a time."""

    def __init__(self, settings: Settings) -> None:
        engine = settings.engine
        small = engine.model_copy(update={"max_batch": 1, "kv_cache_bytes": min(engine.kv_cache_bytes, _KV_BYTES)})
        alone = settings.model_copy(update={"engine": small})
        clock = SystemClock()
        self._results: SimpleQueue[Result] = SimpleQueue()
        self._numbers = itertools.count()
        self._within_s = settings.admission.max_turn_ms / 1000
        loading = load(alone, load_bots(settings).all, cache_folder("models"), clock, lambda _: None)
        device = DeviceThread(replace(loading.models, encoder=lambda: None), self._results.put, clock)
        device.wait_ready(_LOAD_S)
        self._engine: Engine = loading.engine(device, IoThread(clock), self._results.put)

    @property
    def model(self) -> str:
        return self._engine.capabilities.model

    def run(self, prompt: Prompt, sampling: Sampling, seed: int) -> Generated:
        """Raises StreamWorkerError where the engine fails, or takes longer than a turn may."""
        ref = TurnRef(0, 0, f"rehearsal-{next(self._numbers)}", 1)
        order = Generate(
            ref=ref, conversation=ref.turn_id, prompt=prompt, sampling=sampling, seed=seed, cache_scope="rehearsal"
        )
        self._engine.submit(order)
        try:
            return self._wait(ref)
        finally:
            self._engine.submit(Cancel(ref=ref))
            self._engine.submit(Forget(conversation=ref.turn_id))

    def _wait(self, ref: TurnRef) -> Generated:
        deadline = time.monotonic() + self._within_s
        while (left := deadline - time.monotonic()) > 0:
            with suppress(Empty):
                match self._results.get(timeout=left):
                    case Generated(ref=of) as generated if of == ref:
                        return generated
                    case Failed(ref=of, message=message) if of == ref:
                        raise StreamWorkerError(Code.ENGINE_REQUEST_FAILED, message)
        raise StreamWorkerError(Code.ENGINE_REQUEST_FAILED, f"there was no reply within {self._within_s:.0f} s")


def _sampling(bot: Bot | None, analysis: Analysis, generation: GenerationEvidence) -> Sampling:
    """As the record says, and for what it does not say, as the bot's file does."""
    given = bot.sampling if bot is not None else Sampling()
    rule = bot.intents.get(analysis.intent or "", bot.fallback.rule) if bot is not None else None
    schema = rule.reply.json_schema if rule is not None and isinstance(rule.reply, ModelReply) else None
    recorded = replace(given, temperature=generation.temperature, max_new_tokens=generation.max_new_tokens)
    return recorded.held_to(schema)
