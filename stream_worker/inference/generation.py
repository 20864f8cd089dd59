"""One request on its way through the torch engine, and what is reported of it."""

from dataclasses import dataclass, field

from stream_worker.inference.constraints import Constraint, JsonSchemas, Unsatisfiable
from stream_worker.inference.reading import Decode, Reader
from stream_worker.inference.sampling import Sampler
from stream_worker.orders import Failed, Fault, Generate, Generated, Result, Token, TurnRef
from stream_worker.outcome import DeadLetterReason, FinishReason
from stream_worker.tokens import PromptIds, Usage


@dataclass(slots=True, kw_only=True)
class Generation:
    """From acceptance to its last token. Times are monotonic seconds."""

    order: Generate
    prompt: PromptIds
    max_new_tokens: int
    """At most what was asked for, and what the context has left."""
    sampler: Sampler
    reader: Reader
    accepted: float
    started: float = 0.0
    first_token: float = 0.0
    sampled: list[int] = field(default_factory=list)
    text: str = ""
    cached: int = 0
    """Leading ids of the prompt that were not computed again."""
    cached_replied: int = 0
    """Of those, the ones that were sampled in the conversation's last turn."""
    is_forgotten: bool = False
    """Nothing of it may be kept when it ends."""
    _unread: list[int] = field(default_factory=list)

    @property
    def ref(self) -> TurnRef:
        return self.order.ref

    @property
    def need(self) -> int:
        """The most tokens whose keys and values are kept: the last one sampled is never run."""
        return len(self.prompt.ids) + self.max_new_tokens

    def take(self, token: int, end_ids: frozenset[int], now: float) -> list[Result]:
        """One sampled id: the text that became readable, and the end if this is it."""
        if self.sampler.failure is not None:
            return [_unmet(self.order, self.sampler.failure)]
        if not self.sampled:
            self.first_token = now
        self.sampled.append(token)
        ended = token in end_ids
        readable = ""
        if not ended:
            self._unread.append(token)
            readable = self.reader.add(token)
        if ended or self.reader.stopped:
            return [*self._read(readable + self.reader.end()), self._end(FinishReason.STOP, now)]
        if len(self.sampled) == self.max_new_tokens:
            rest = self.reader.end()
            reason = FinishReason.STOP if self.reader.stopped else FinishReason.LENGTH
            return [*self._read(readable + rest), self._end(reason, now)]
        return self._read(readable)

    def _read(self, text: str) -> list[Result]:
        if not text:
            return []
        self.text += text
        ids, self._unread = tuple(self._unread), []
        return [Token(ref=self.ref, text=text, ids=ids)]

    def _end(self, reason: FinishReason, now: float) -> Generated | Failed:
        if not self.sampler.is_whole:
            return _unmet(
                self.order, f"the reply ended ({reason}) after {len(self.sampled)} tokens, amid the JSON text"
            )
        return Generated(
            ref=self.ref,
            text=self.text,
            ids=tuple(self.sampled),
            finish_reason=reason,
            usage=Usage(
                prompt=len(self.prompt.ids),
                cached=self.cached,
                cached_replied=self.cached_replied,
                generated=len(self.sampled),
            ),
            queued_seconds=self.started - self.accepted,
            first_token_seconds=self.first_token - self.accepted,
            seconds=now - self.accepted,
            log_probabilities=tuple(self.sampler.log_probabilities),
            stopped_at_text=self.reader.stopped,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request must keep to. `capacity_tokens` is what the cache holds."""

    vocabulary: int
    max_context_tokens: int
    capacity_tokens: int


def accept(
    order: Generate, limits: Limits, decode: Decode, now: float, schemas: JsonSchemas | None = None
) -> Generation | Failed:
    """A request that can run, or why it never can."""
    prompt = order.prompt
    assert isinstance(prompt, PromptIds), "this engine takes ids"
    most = min(limits.max_context_tokens, limits.capacity_tokens)
    if not prompt.ids:
        return _refused(order, DeadLetterReason.INVALID_EVENT, "the prompt has no tokens")
    if len(prompt.ids) >= most:
        message = f"the prompt has {len(prompt.ids)} tokens; prompt and reply together may have {most}"
        return _refused(order, DeadLetterReason.PROMPT_TOO_LONG, message)
    if min(prompt.ids) < 0 or max(prompt.ids) >= limits.vocabulary:
        message = f"the prompt has ids outside of the model's vocabulary of {limits.vocabulary}"
        return _refused(order, DeadLetterReason.INVALID_EVENT, message)
    if any(token >= limits.vocabulary for token, _ in order.sampling.logit_bias):
        message = f"sampling.logit_bias has ids outside of the model's vocabulary of {limits.vocabulary}"
        return _refused(order, DeadLetterReason.INVALID_EVENT, message)
    try:
        constraint = _constraint(order, schemas)
    except Unsatisfiable as error:
        return _unmet(order, str(error))
    return Generation(
        order=order,
        prompt=prompt,
        max_new_tokens=min(order.sampling.max_new_tokens, most - len(prompt.ids)),
        sampler=Sampler(order.sampling, order.seed, prompt.ids, constraint),
        reader=Reader(decode, order.sampling.stop),
        accepted=now,
    )


def _constraint(order: Generate, schemas: JsonSchemas | None) -> Constraint | None:
    """Raises Unsatisfiable for a schema that no reply can keep to, and where the tokenizer is not known."""
    if order.sampling.json_schema is None:
        return None
    if schemas is None:
        raise Unsatisfiable("this engine was made without its tokenizer's file")
    return schemas.constraint(order.sampling.json_schema)


def _unmet(order: Generate, why: str) -> Failed:
    return _refused(order, DeadLetterReason.SCHEMA_NOT_MET, f"the reply cannot keep to its JSON schema: {why}")


def _refused(order: Generate, reason: DeadLetterReason, message: str) -> Failed:
    return Failed(ref=order.ref, fault=Fault.EVENT, reason=reason, message=message)
