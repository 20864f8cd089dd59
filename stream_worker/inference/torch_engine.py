"""Generates with a causal language model, by continuous batching over a cache of blocks.

Device thread only. A step is: admit what waits, choose what runs (`schedule`), run it (a `Runner`), sample, report.
Decoding lanes and chunks of prompts go through the model together. A lane that was preempted keeps its tokens and is
admitted again before all others; its keys and values are computed anew.

What always holds: a request's tokens do not depend on what else is in the batch (but for rounding); every block is
counted, and what lanes leave of them keeps the beginnings of conversations that have ended their turn.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
import torch

from stream_worker.clock import Clock
from stream_worker.errors import raised
from stream_worker.inference.beginnings import Beginnings, Host, Key
from stream_worker.inference.blocks import BlockPool, blocks_for
from stream_worker.inference.constraints import JsonSchemas
from stream_worker.inference.engine import Capabilities, Feature, Forgetting, Takes
from stream_worker.inference.generation import Generation, Limits, accept
from stream_worker.inference.memory import DeviceMemory, MemoryGauge, process_memory
from stream_worker.inference.pace import Pace
from stream_worker.inference.reading import Decode
from stream_worker.inference.schedule import Lane, Plan, StepLimits, Waiting, admits, plan
from stream_worker.inference.segments import BLOCK_TOKENS, Next, Runner, Segment
from stream_worker.orders import (
    Ended,
    Expire,
    Failed,
    Fault,
    Forget,
    Generate,
    Keeping,
    Release,
    Result,
    Token,
    TurnRef,
)
from stream_worker.outcome import DeadLetterReason, FallbackReason

STEP_TOKENS = 128
"""Tokens of one step. More is hardly faster, and keeps the decoding lanes waiting."""

_STEPS_UNTIL_MORE = 64
"""Good steps after which a step may be twice as large again that memory had not sufficed for."""

_CPU_ALLOCATOR = "DefaultCPUAllocator: "


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What requests are checked against, and what the engine says of itself."""

    version: str
    vocabulary: int
    max_context_tokens: int
    blocks: int


@dataclass(slots=True)
class _Lane:
    """A running request: keys and values of the first `done` of its ids are in its blocks."""

    generation: Generation
    ids: list[int]
    """The prompt, and what was sampled after it."""
    blocks: list[int]
    done: int

    @property
    def pending(self) -> int:
        return len(self.ids) - self.done

    @property
    def is_prompt(self) -> bool:
        return self.pending > 1


class TorchStepper:
    """Implements `Stepper` over a loaded model.

    `host` is a second tier for conversations that wait; `fallbacks` say why a faster runner was not taken;
    `memory` looks at the device's.
    """

    def __init__(
        self,
        runner: Runner,
        facts: ModelFacts,
        *,
        decode: Decode,
        end_ids: frozenset[int],
        max_batch: int,
        clock: Clock,
        schemas: JsonSchemas | None = None,
        host: Host | None = None,
        fallbacks: tuple[FallbackReason, ...] = (),
        memory: Callable[[], DeviceMemory] = process_memory,
        step_tokens: int = STEP_TOKENS,
    ) -> None:
        self._fallbacks = fallbacks
        self._memory = MemoryGauge(memory, clock)
        self._schemas = schemas
        self._runner = runner
        self._decode = decode
        self._end_ids = end_ids
        self._clock = clock
        self._max_batch = max_batch
        self._limits = Limits(
            vocabulary=facts.vocabulary,
            max_context_tokens=facts.max_context_tokens,
            capacity_tokens=facts.blocks * BLOCK_TOKENS,
        )
        self._pool = BlockPool(facts.blocks)
        self._beginnings = Beginnings(self._pool, runner.copy_block, host)
        self._pace = Pace(step_tokens)
        self._step_tokens = step_tokens
        self._most_rows = self._rows = max_batch + step_tokens
        self._good_steps = 0
        self._preempted: list[Generation] = []
        self._waiting: deque[Generation] = deque()
        self._lanes: list[_Lane] = []
        self._report: list[Result] = []
        self._capabilities = Capabilities(
            takes=Takes.IDS,
            deterministic=runner.is_exact,
            forgetting=Forgetting.EXACT,
            model=facts.version,
            max_context_tokens=facts.max_context_tokens,
            features=frozenset(Feature),
        )

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def running(self) -> int:
        return len(self._lanes)

    @property
    def waiting(self) -> int:
        return len(self._waiting) + len(self._preempted)

    @property
    def kv_tokens(self) -> int:
        """Of the running lanes, by whole blocks."""
        return len({block for lane in self._lanes for block in lane.blocks}) * BLOCK_TOKENS

    @property
    def kept_tokens(self) -> int:
        """Of conversations that wait for their next message, and of what they begin with."""
        return self._beginnings.tokens

    @property
    def kv_capacity_tokens(self) -> int:
        return self._limits.capacity_tokens

    @property
    def evictions(self) -> tuple[int, int]:
        """Of beginnings, from the device and from the host tier, since the start."""
        return self._beginnings.device_evictions, self._beginnings.host_evictions

    @property
    def level(self) -> str:
        return self._runner.level

    @property
    def fallbacks(self) -> tuple[FallbackReason, ...]:
        return self._fallbacks

    @property
    def memory(self) -> DeviceMemory:
        return self._memory.read()

    def add(self, order: Generate) -> None:
        accepted = accept(order, self._limits, self._decode, self._clock.monotonic(), self._schemas)
        if isinstance(accepted, Failed):
            self._report.append(accepted)
        else:
            self._waiting.append(accepted)

    def cancel(self, ref: TurnRef) -> None:
        """Takes a request out at once. What is computed of its prompt is kept: an interrupt goes on from there."""
        for lane in self._lanes:
            if lane.generation.ref == ref:
                self._lanes.remove(lane)
                self._leave(lane, lane.ids[: min(lane.done, len(lane.generation.prompt.ids))])
                self._report.append(Ended(ref=ref))
                return
        before = self.waiting
        self._waiting = deque(one for one in self._waiting if one.ref != ref)
        self._preempted = [one for one in self._preempted if one.ref != ref]
        if self.waiting < before:
            self._report.append(Ended(ref=ref))

    def forget(self, order: Keeping) -> None:
        match order:
            case Forget(conversation=conversation):
                self._forget(conversation)
            case Release(partition=partition):
                self._beginnings.release(partition)
            case Expire(partition=partition):
                self._beginnings.expire(partition)

    def _forget(self, conversation: str) -> None:
        """Nothing of the conversation is kept, nor of a request of its that still runs."""
        self._beginnings.forget(conversation)
        running = (lane.generation for lane in self._lanes)
        for generation in (*running, *self._preempted, *self._waiting):
            if generation.order.conversation == conversation:
                generation.is_forgotten = True

    def seconds_until_ready(self) -> float:
        return 0.0 if self._report or self.waiting or self.running else float("inf")

    def step(self) -> list[Result]:
        self._admit()
        if self._lanes:
            self._run(self._planned())
        report, self._report = self._report, []
        return report

    # Admission

    def _admit(self) -> None:
        """Preempted lanes first, then the requests in their order; but one that waits for its bot's common beginning
        lets those behind it pass."""
        passed: list[Generation] = []
        for generation in [*self._preempted, *self._waiting]:
            ids = (*generation.prompt.ids, *generation.sampled)
            known = self._beginnings.known(generation.order.cache_scope, generation.order.conversation, ids)
            waiting = Waiting(
                tokens=len(ids) - known.tokens,
                blocks=blocks_for(len(ids)) + 1 - known.here // BLOCK_TOKENS,
                waits_for_common=self._is_computing_common(generation),
            )
            available = self._pool.free + self._beginnings.evictable(known.keys)
            if not admits(
                waiting,
                lanes=len(self._lanes),
                max_lanes=self._max_batch,
                pending=sum(lane.pending for lane in self._lanes if lane.is_prompt),
                available=available,
                limits=self._step_limits(),
            ):
                passed.append(generation)
                if waiting.waits_for_common:
                    continue
                break
            self._join(generation, ids, waiting.blocks, known.keys)
        admitted = {lane.generation.ref for lane in self._lanes}
        self._preempted = [one for one in self._preempted if one.ref not in admitted]
        if any(one.ref in admitted for one in self._waiting):
            self._waiting = deque(one for one in self._waiting if one.ref not in admitted)

    def _is_computing_common(self, generation: Generation) -> bool:
        """Whether a lane computes what this request's prompt begins with, and has not come to its end."""
        order, common = generation.order, generation.prompt.common
        return common > 0 and any(
            lane.generation.order.cache_scope == order.cache_scope
            and lane.done < common <= len(lane.ids)
            and tuple(lane.ids[:common]) == generation.prompt.ids[:common]
            for lane in self._lanes
        )

    def _join(self, generation: Generation, ids: tuple[int, ...], blocks: int, keys: frozenset[Key]) -> None:
        order = generation.order
        if not self._beginnings.make_room(blocks, keys):
            # Only for a request alone: it needs the blocks of what it could have gone on from, too.
            self._beginnings.clear()
        match = self._beginnings.take(order.cache_scope, order.conversation, ids)
        table = [*match.blocks, *self._pool.take(blocks_for(len(ids)) - len(match.blocks))]
        if not generation.started:
            generation.started = self._clock.monotonic()
            generation.cached, generation.cached_replied = match.tokens, match.replied
        self._lanes.append(_Lane(generation, list(ids), table, match.tokens))

    # A step

    def _step_limits(self) -> StepLimits:
        return StepLimits(tokens=self._step_tokens, chunk=self._pace.chunk, rows=self._rows)

    def _planned(self) -> Plan:
        """What runs, with the blocks for it taken and the preempted lanes out."""
        views = [
            Lane(
                pending=lane.pending,
                room=len(lane.blocks) * BLOCK_TOKENS - lane.done,
                blocks=sum(self._pool.references(block) == 1 for block in lane.blocks),
            )
            for lane in self._lanes
        ]
        growing = sum(view.room == 0 for view in views)
        free = self._pool.free
        chosen = plan(views, free if free >= growing else free + self._beginnings.evictable(), self._step_limits())
        for at in chosen.preempted:
            lane = self._lanes.pop(at)
            self._pool.give(lane.blocks)
            self._preempted.insert(0, lane.generation)
        self._beginnings.make_room(sum(chosen.grows))
        for lane, grows in zip(self._lanes, chosen.grows, strict=False):
            if grows:
                lane.blocks += self._pool.take(1)
        return chosen

    def _run(self, chosen: Plan) -> None:
        ran = [(lane, tokens) for lane, tokens in zip(self._lanes, chosen.tokens, strict=False) if tokens]
        segments = [_segment(lane, tokens) for lane, tokens in ran]
        before = self._clock.monotonic()
        try:
            given = self._runner.run(segments)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self._shrink(ran, error)
            return
        decoding = sum(lane.pending == 1 and lane.generation.sampled != [] for lane, _ in ran)
        prompt_tokens = sum(tokens for _, tokens in ran) - decoding
        self._pace.learn(decoding=decoding, prompt_tokens=prompt_tokens, seconds=self._clock.monotonic() - before)
        self._regain()
        self._advance(ran, iter(given))

    def _advance(self, ran: list[tuple[_Lane, int]], given: Iterator[Next]) -> None:
        """What ran is done: keep what others share, sample where a lane is at its last id."""
        for lane, tokens in ran:
            prompt = lane.generation.prompt
            lane.done += tokens
            if 0 < prompt.common <= lane.done and not lane.generation.sampled:
                scope = lane.generation.order.cache_scope
                self._beginnings.keep_common(scope, prompt.ids[: prompt.common], lane.blocks)
            if lane.pending == 0 and self._sample(lane, next(given)):
                self._lanes.remove(lane)
                self._leave(lane, lane.ids[: lane.done])

    def _sample(self, lane: _Lane, given: Next) -> bool:
        """Chooses the next token of a lane and reports it; true when its request has ended. One that raises fails
        alone."""
        generation = lane.generation
        if given.likeliest < 0:
            self._report.append(_failed(generation, Fault.EVENT, "the model gave no finite logit for it"))
            generation.is_forgotten = True
            return True
        try:
            token = given.likeliest if given.logits is None else generation.sampler.choose(given.logits)
            results = generation.take(token, self._end_ids, self._clock.monotonic())
        except Exception as error:  # noqa: BLE001  # whatever one request's sampling does, the others go on
            message = f"its sampling ended with {raised(error)}"
            self._report.append(_failed(generation, Fault.EVENT, message))
            return True
        self._report += results
        lane.ids.append(token)
        return bool(results) and not isinstance(results[-1], Token)

    def _leave(self, lane: _Lane, ids: list[int]) -> None:
        """A lane's blocks: kept for the conversation's next turn as far as `ids`, or given back."""
        order, prompt = lane.generation.order, lane.generation.prompt
        if lane.generation.is_forgotten:
            self._pool.give(lane.blocks)
        else:
            self._beginnings.keep(
                order.cache_scope,
                order.conversation,
                tuple(ids),
                lane.blocks,
                prompt=len(prompt.ids),
                partition=order.ref.partition,
            )

    # Out of memory

    def _shrink(self, ran: list[tuple[_Lane, int]], error: BaseException) -> None:
        """Gives back what is kept, and tries again with half of the rows; a row alone that does not fit fails."""
        rows = sum(tokens for _, tokens in ran)
        self._beginnings.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        structlog.get_logger().warning("out of memory", rows=rows, error=type(error).__name__)
        self._rows, self._good_steps = max(1, rows // 2), 0
        if rows > 1:
            return
        ((lane, _),) = ran
        self._lanes.remove(lane)
        self._pool.give(lane.blocks)
        message = f"out of memory for a single token ({type(error).__name__}); lower engine.kv_cache_bytes"
        self._report.append(_failed(lane.generation, Fault.ENGINE, message))

    def _regain(self) -> None:
        self._good_steps += 1
        if self._good_steps % _STEPS_UNTIL_MORE == 0:
            self._rows = min(self._most_rows, self._rows * 2)


def _segment(lane: _Lane, tokens: int) -> Segment:
    samples = tokens == lane.pending
    return Segment(
        ids=lane.ids[lane.done : lane.done + tokens],
        start=lane.done,
        blocks=lane.blocks,
        samples=samples,
        logits=samples and not lane.generation.sampler.takes_argmax,
    )


def _failed(generation: Generation, fault: Fault, message: str) -> Failed:
    reason = DeadLetterReason.ATTEMPTS_EXHAUSTED
    return Failed(ref=generation.ref, fault=fault, reason=reason, message=message)


def is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """On a CPU torch says so in words only."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or _CPU_ALLOCATOR in str(error)
