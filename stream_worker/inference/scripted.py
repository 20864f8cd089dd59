"""An engine without a model: the reply is a pure function of the request, and time is the injected clock's.

For tests and benchmarks. With a clock that is moved by hand a run is the same
each time, to the token.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from stream_worker.clock import Clock
from stream_worker.inference.engine import Capabilities, Feature, Forgetting, Takes
from stream_worker.inference.memory import DeviceMemory, MemoryGauge, process_memory
from stream_worker.orders import Ended, Generate, Generated, Keeping, Result, Token, TurnRef
from stream_worker.outcome import FallbackReason, FinishReason
from stream_worker.tokens import PromptMessages, Usage

_WORDS = ("yes", "no", "sure", "perhaps", "of", "course", "let", "me", "see", "the", "answer", "is", "here", "now")
_IDS = 50_000
_CONTEXT_TOKENS = 1 << 20

Reply = Callable[[Generate], str]
Seconds = Callable[[Generate], float]


def derived_reply(order: Generate) -> str:
    """Three to eight words, drawn from the hash of the prompt."""
    digest = blake2b(repr(_messages(order)).encode("utf-8", "replace"), digest_size=16).digest()
    count = 3 + digest[0] % 6
    return " ".join(_WORDS[byte % len(_WORDS)] for byte in digest[1 : 1 + count]).capitalize() + "."


@dataclass(slots=True)
class _Scripted:
    """One request: its words, and when the next one is due."""

    order: Generate
    words: list[str]
    seconds: float
    accepted: float
    started: float | None = None
    said: list[str] = field(default_factory=list)
    first_token: float = 0.0

    @property
    def due(self) -> float:
        """Monotonic time of the next word; of the end where there is none left."""
        steps = len(self.said) + 1 if self.words else len(self.said)
        return (self.accepted if self.started is None else self.started) + steps * self.seconds


class ScriptedStepper:
    """Implements `Stepper`. Every request has `seconds(order)` a token; all run at the same time, up to `max_batch`."""

    def __init__(self, clock: Clock, *, seconds: Seconds, reply: Reply = derived_reply, max_batch: int = 4_096) -> None:
        self._clock = clock
        self._reply = reply
        self._seconds = seconds
        self._max_batch = max_batch
        self._waiting: dict[TurnRef, _Scripted] = {}
        self._running: dict[TurnRef, _Scripted] = {}
        self._report: list[Result] = []
        self._memory = MemoryGauge(process_memory, clock)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            takes=Takes.MESSAGES,
            deterministic=True,
            forgetting=Forgetting.EXACT,
            model="scripted",
            max_context_tokens=_CONTEXT_TOKENS,
            features=frozenset({Feature.SEED}),
        )

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def kv_tokens(self) -> int:
        return 0

    @property
    def kv_capacity_tokens(self) -> int:
        return 0

    @property
    def evictions(self) -> tuple[int, int]:
        return 0, 0

    @property
    def fallbacks(self) -> tuple[FallbackReason, ...]:
        return ()

    @property
    def memory(self) -> DeviceMemory:
        return self._memory.read()

    def add(self, order: Generate) -> None:
        words = re.findall(r"\s*\S+\s*$|\s*\S+", self._reply(order))
        self._waiting[order.ref] = _Scripted(order, words, self._seconds(order), self._clock.monotonic())

    def cancel(self, ref: TurnRef) -> None:
        if self._waiting.pop(ref, None) or self._running.pop(ref, None):
            self._report.append(Ended(ref=ref))

    def forget(self, order: Keeping) -> None:
        """Nothing is kept of a request that has ended."""

    def seconds_until_ready(self) -> float:
        if self._report or (self._waiting and len(self._running) < self._max_batch):
            return 0.0
        now = self._clock.monotonic()
        return max(0.0, min((scripted.due for scripted in self._running.values()), default=float("inf")) - now)

    def step(self) -> list[Result]:
        now = self._clock.monotonic()
        while self._waiting and len(self._running) < self._max_batch:
            ref = next(iter(self._waiting))
            self._running[ref] = self._waiting.pop(ref)
            self._running[ref].started = now
        for scripted in [one for one in self._running.values() if one.due <= now]:
            self._say(scripted, now)
        report, self._report = self._report, []
        return report

    def _say(self, scripted: _Scripted, now: float) -> None:
        """The next word of a reply, and its end after the last one."""
        order = scripted.order
        if not scripted.said:
            scripted.first_token = now
        most = order.sampling.max_new_tokens
        if scripted.words and len(scripted.said) < most:
            word = scripted.words.pop(0)
            scripted.said.append(word)
            self._report.append(Token(ref=order.ref, text=word, ids=(_id(word),)))
        if not scripted.words or len(scripted.said) >= most:
            del self._running[order.ref]
            self._report.append(_generated(scripted, now))


def _generated(scripted: _Scripted, now: float) -> Generated:
    started = scripted.accepted if scripted.started is None else scripted.started
    prompt_tokens = sum(len(message.text.split()) for message in _messages(scripted.order).messages)
    return Generated(
        ref=scripted.order.ref,
        text="".join(scripted.said),
        ids=tuple(_id(word) for word in scripted.said),
        finish_reason=FinishReason.LENGTH if scripted.words else FinishReason.STOP,
        usage=Usage(prompt=prompt_tokens, generated=len(scripted.said)),
        queued_seconds=started - scripted.accepted,
        first_token_seconds=scripted.first_token - scripted.accepted,
        seconds=now - scripted.accepted,
    )


def _messages(order: Generate) -> PromptMessages:
    assert isinstance(order.prompt, PromptMessages), "this engine takes messages"
    return order.prompt


def _id(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=4).digest(), "little") % _IDS
