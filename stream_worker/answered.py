"""How a turn came to its reply, and what the analysis record tells of it. Pure."""

from msgspec import Struct

from stream_worker.bot.bot import Bot
from stream_worker.contracts.analysis import (
    Analysis,
    DecisionEvidence,
    GenerationEvidence,
    IntentEvidence,
    SentimentEvidence,
    SlotEvidence,
    WordShare,
)
from stream_worker.contracts.versions import Versions
from stream_worker.orders import Encoded, Generated
from stream_worker.outcome import FinishReason
from stream_worker.turn import Decided


class Answered(Struct, frozen=True, kw_only=True):
    """How a turn's reply came about, as far as the records tell of it."""

    text: str
    finish_reason: FinishReason
    checks: tuple[str, ...] = ()
    generated: Generated | None = None
    prompt_hash: str = ""
    seed: int = 0


def analysis_of(decided: Decided, answered: Answered, versions: Versions, now_ms: int) -> Analysis:
    turn, decision, understanding = decided.turn, decided.decision, decided.understanding
    event = turn.first.event
    return Analysis(
        turn_id=turn.ref.turn_id,
        reply_id=turn.reply_id,
        conversation_id=event.conversation_id,
        tenant=event.tenant,
        language=turn.parsed.language,
        sentences=len(turn.parsed.sentences),
        intent=decision.intent,
        in_scope=understanding.in_scope if understanding else True,
        intents=[IntentEvidence(name=item.name, score=item.score) for item in understanding.intents]
        if understanding
        else [],
        slots=[
            SlotEvidence(
                name=slot.name,
                value=slot.value,
                carried=slot.carried,
                start=slot.start,
                end=slot.end,
                score=slot.score,
            )
            for slot in decision.slots
        ],
        decision=decision.name,
        checks=list(answered.checks),
        generation=_generation(turn.bot, answered),
        term=turn.ref.term,
        attempt=turn.ref.attempt,
        at=now_ms,
        versions=versions,
        sentiment=_sentiment(understanding),
        evidence=_evidence(understanding),
    )


def _sentiment(understanding: Encoded | None) -> SentimentEvidence | None:
    if understanding is None or understanding.sentiment is None:
        return None
    return SentimentEvidence(label=understanding.sentiment.label, score=understanding.sentiment.score)


def _evidence(understanding: Encoded | None) -> list[DecisionEvidence]:
    return [
        DecisionEvidence(
            decision=one.decision,
            outcome=one.outcome,
            method=one.method,
            words=[WordShare(start=word.start, end=word.end, weight=word.weight) for word in one.words],
        )
        for one in (understanding.evidence if understanding else ())
    ]


def _generation(bot: Bot, answered: Answered) -> GenerationEvidence | None:
    generated = answered.generated
    if generated is None:
        return None
    return GenerationEvidence(
        prompt_hash=answered.prompt_hash,
        prompt_tokens=generated.usage.prompt,
        cached_tokens=generated.usage.cached,
        sampled_ids=list(generated.ids),
        seed=answered.seed,
        temperature=bot.sampling.temperature,
        max_new_tokens=bot.sampling.max_new_tokens,
        log_probabilities=list(generated.log_probabilities) or None,
    )
