"""Generates with any causal language model of `transformers`, by continuous batching.

Device thread only. A step is: admit the oldest request that waits, run one
chunk of its prompt, then one token for every running lane. The chunk keeps a
long prompt from stalling the lanes. Correct and clear rather than fast: this
is what a faster engine is compared with.

What always holds: a request's tokens do not depend on what else is in the
batch (but for rounding), and keys and values stay within `kv_cache_bytes`,
except for the one prompt that is being computed. What the lanes leave of it
keeps the beginnings of conversations that have ended their turn.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from stream_worker.clock import Clock
from stream_worker.inference.constraints import JsonSchemas
from stream_worker.inference.engine import Capabilities, Feature, Forgetting, Takes
from stream_worker.inference.generation import Generation, Limits, accept
from stream_worker.inference.lanes import LaneCache, kept
from stream_worker.inference.prefix_cache import Pairs, PrefixCache
from stream_worker.inference.reading import Decode
from stream_worker.orders import Ended, Failed, Fault, Forget, Generate, Result, Token, TurnRef
from stream_worker.outcome import DeadLetterReason

_PREFILL_CHUNK = 256

_CPU_ALLOCATOR = "DefaultCPUAllocator: "


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchLimits:
    """What the engine may take."""

    max_batch: int
    max_context_tokens: int
    kv_cache_bytes: int


@dataclass(slots=True)
class _Prefill:
    """The request whose prompt is being computed; `done` of its tokens are in `cache`."""

    generation: Generation
    cache: DynamicCache
    done: int


class TorchStepper:
    """Implements `Stepper` over a loaded model."""

    def __init__(
        self,
        model: Any,
        *,
        version: str,
        decode: Decode,
        end_ids: frozenset[int],
        limits: TorchLimits,
        clock: Clock,
        schemas: JsonSchemas | None = None,
    ) -> None:
        self._model = model
        self._schemas = schemas
        self._decode = decode
        self._end_ids = end_ids
        self._clock = clock
        self._waiting: deque[Generation] = deque()
        self._prefill: _Prefill | None = None
        self._lanes: list[Generation] = []
        self._report: list[Result] = []

        config = model.config.get_text_config()
        # A first pass of one token warms the model up, and shows what it keeps of a token.
        probe = DynamicCache()
        self._forward([0], probe, 0)
        token_bytes = sum(tensor.nbytes for pair in kept(probe) for tensor in pair)
        self._limits = Limits(
            vocabulary=config.vocab_size,
            max_context_tokens=min(limits.max_context_tokens, config.max_position_embeddings),
            capacity_tokens=limits.kv_cache_bytes // token_bytes,
        )
        self._cache = LaneCache(probe, limits.max_batch, self._limits.capacity_tokens)
        self._prefixes = PrefixCache()
        self._capabilities = Capabilities(
            takes=Takes.IDS,
            deterministic=model.dtype == torch.float32,
            forgetting=Forgetting.EXACT,
            model=version,
            max_context_tokens=self._limits.max_context_tokens,
            features=frozenset(Feature),
        )

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def running(self) -> int:
        return len(self._lanes) + (self._prefill is not None)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def kv_tokens(self) -> int:
        return self._cache.tokens + (self._prefill.done if self._prefill else 0)

    @property
    def kept_tokens(self) -> int:
        """Of conversations that wait for their next message, and of what they begin with."""
        return self._prefixes.tokens

    @property
    def kv_capacity_tokens(self) -> int:
        return self._limits.capacity_tokens

    def add(self, order: Generate) -> None:
        accepted = accept(order, self._limits, self._decode, self._clock.monotonic(), self._schemas)
        if isinstance(accepted, Failed):
            self._report.append(accepted)
        else:
            self._waiting.append(accepted)

    def cancel(self, ref: TurnRef) -> None:
        if self._drop(ref):
            self._report.append(Ended(ref=ref))

    def forget(self, order: Forget) -> None:
        """Nothing of the conversation is kept, nor of a request of its that still runs."""
        self._prefixes.forget(order.conversation)
        for generation in self._in_hand():
            if generation.order.conversation == order.conversation:
                generation.is_forgotten = True

    def seconds_until_ready(self) -> float:
        return 0.0 if self._report or self._waiting or self.running else float("inf")

    def step(self) -> list[Result]:
        self._admit()
        try:
            with torch.no_grad():
                self._prefill_chunk()
                self._decode_step()
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            self._fail_all(error)
        report, self._report = self._report, []
        return report

    def _admit(self) -> None:
        if self._prefill is None and self._waiting and self._cache.has_room(self._waiting[0].need):
            generation = self._waiting.popleft()
            generation.started = self._clock.monotonic()
            order = generation.order
            cache, done = self._prefixes.take(order.cache_scope, order.conversation, generation.prompt.ids)
            generation.cached = done
            self._prefill = _Prefill(generation, cache, done)

    def _prefill_chunk(self) -> None:
        """A chunk of one prompt; after the last one its first token, and its lane."""
        if (prefill := self._prefill) is None:
            return
        generation = prefill.generation
        chunk = generation.prompt.ids[prefill.done : prefill.done + _PREFILL_CHUNK]
        logits = self._forward(list(chunk), prefill.cache, prefill.done)
        prefill.done += len(chunk)
        if prefill.done < len(generation.prompt.ids):
            return
        self._prefill = None
        prompt = generation.prompt
        self._prefixes.keep_common(generation.order.cache_scope, prompt.ids[: prompt.common], kept(prefill.cache))
        if self._sample(generation, logits[0], int(logits[0].argmax())):
            self._keep(generation, kept(prefill.cache))
        else:
            self._cache.join(prefill.cache, generation.need)
            self._lanes.append(generation)
        self._prefixes.shrink(self._limits.capacity_tokens - self._cache.allocated)

    def _decode_step(self) -> None:
        """One token for every lane."""
        if not self._lanes:
            return
        mask, positions = self._cache.prepare()
        device = self._model.device
        logits = self._model(
            input_ids=torch.tensor([[lane.sampled[-1]] for lane in self._lanes], device=device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            past_key_values=self._cache,
            use_cache=True,
        ).logits[:, -1]
        self._cache.advance()
        likeliest = logits.argmax(-1).tolist()
        # From the last lane on, because the last one takes the place of one that leaves.
        for lane in reversed(range(len(self._lanes))):
            generation = self._lanes[lane]
            if self._sample(generation, logits[lane], likeliest[lane]):
                pairs = self._cache.lane(lane)
                self._remove(lane)
                self._keep(generation, pairs)

    def _forward(self, ids: list[int], cache: DynamicCache, start: int) -> torch.Tensor:
        """The logits after `ids`, [1, vocabulary]; their keys and values are added to `cache`."""
        device = self._model.device
        with torch.no_grad():
            output = self._model(
                input_ids=torch.tensor([ids], device=device),
                position_ids=torch.arange(start, start + len(ids), device=device).unsqueeze(0),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,  # of a whole prompt only the last row is sampled from
            )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _sample(self, generation: Generation, logits: torch.Tensor, likeliest: int) -> bool:
        """Chooses the next token of a request and reports it; true when the request has ended."""
        greedy = generation.sampler.takes_argmax
        token = likeliest if greedy else generation.sampler.choose(logits.float().cpu().numpy())
        results = generation.take(token, self._end_ids, self._clock.monotonic())
        self._report += results
        return bool(results) and not isinstance(results[-1], Token)

    def _keep(self, generation: Generation, pairs: Pairs) -> None:
        """Keeps what was computed for the conversation's next turn: all but the last id, which was never run."""
        if generation.is_forgotten:
            return
        order = generation.order
        ids = (*generation.prompt.ids, *generation.sampled[:-1])
        if len(ids) <= self._limits.capacity_tokens - self._cache.allocated:
            self._prefixes.keep(order.cache_scope, order.conversation, ids, pairs)
            self._prefixes.shrink(self._limits.capacity_tokens - self._cache.allocated)

    def _in_hand(self) -> list[Generation]:
        prefilling = [self._prefill.generation] if self._prefill else []
        return [*prefilling, *self._lanes, *self._waiting]

    def _remove(self, lane: int) -> None:
        self._cache.leave(lane)
        last = self._lanes.pop()
        if lane < len(self._lanes):
            self._lanes[lane] = last

    def _drop(self, ref: TurnRef) -> bool:
        """Takes a request out, wherever it is; false when it is nowhere."""
        if self._prefill and self._prefill.generation.ref == ref:
            self._prefill = None
            return True
        for lane, generation in enumerate(self._lanes):
            if generation.ref == ref:
                self._remove(lane)
                return True
        before = len(self._waiting)
        self._waiting = deque(generation for generation in self._waiting if generation.ref != ref)
        return len(self._waiting) < before

    def _fail_all(self, error: BaseException) -> None:
        """Out of memory: what runs is the engine's fault, and its memory is given back. What waits goes on waiting."""
        prefilling = [self._prefill.generation] if self._prefill else []
        self._report += [
            Failed(
                ref=generation.ref,
                fault=Fault.ENGINE,
                reason=DeadLetterReason.ATTEMPTS_EXHAUSTED,
                message=f"out of memory with {self.running} requests running ({type(error).__name__}); "
                "lower engine.kv_cache_bytes or engine.max_batch",
            )
            for generation in (*prefilling, *self._lanes)
        ]
        self._prefill, self._lanes = None, []
        self._cache.clear()
        self._prefixes.clear()


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """On a CPU torch says so in words only."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or _CPU_ALLOCATOR in str(error)
