"""What a settled turn publishes: replies, metrics, analysis, commands, deltas, dead letters, as records. Pure.

Every record is measured against its topic's `max.message.bytes` here, before
it enters the outbox. A reply is cut and marked; a dead letter keeps its
headers and the first part of the value; an analysis loses its evidence and
says so; a command that is too large fails its turn, for half a command is
none. What a metric holds is bounded where it is read, and fits every topic
that a worker starts with.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache

import orjson

from stream_worker.answered import Answered, analysis_of
from stream_worker.bot.bot import Bot
from stream_worker.clock import Moment
from stream_worker.contracts.action import Command
from stream_worker.contracts.analysis import (
    without_evidence,
)
from stream_worker.contracts.dead_letter import dead_letter
from stream_worker.contracts.decode import Arrival
from stream_worker.contracts.delta import Delta
from stream_worker.contracts.headers import InputHeaders, common_headers, output_headers
from stream_worker.contracts.metric import EventMetric, Timings, Tokens
from stream_worker.contracts.reply import Reply
from stream_worker.contracts.versions import Versions
from stream_worker.conversation.pending import PendingTurn
from stream_worker.errors import BadEvent, Code
from stream_worker.orders import Generated
from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome
from stream_worker.record import Headers, Outgoing, Record
from stream_worker.settings import Settings
from stream_worker.stages.dialogue import CommandDraft
from stream_worker.stages.preview import Piece
from stream_worker.trace_context import carried_on
from stream_worker.turn import Decided, Turn


class Makers:
    """What each bot's records name as their makers."""

    def __init__(self, worker: str, settings: str, model: str) -> None:
        self._of = lru_cache(maxsize=1_024)(
            lambda name, version: Versions(worker=worker, settings=settings, bot=name, bot_version=version, model=model)
        )

    def of(self, bot: Bot | None) -> Versions:
        return self._of(bot.name, bot.version) if bot else self._of("", "")


_NO_HEADERS = InputHeaders()
_NO_TOKENS = Tokens()

#: A longer key of a record that is no event is left out of its metric; it stands on the dead letter.
_MAX_FOREIGN_KEY_BYTES = 1_024


class Publication:
    """Builds records; `limits` is each output topic's `max.message.bytes`."""

    def __init__(self, settings: Settings, versions: Makers, limits: Mapping[str, int]) -> None:
        topics = settings.topics
        self._replies = settings.output_topic(topics.replies)
        self._deltas = settings.output_topic(topics.deltas)
        self._analysis = settings.output_topic(topics.analysis)
        self._actions = settings.output_topic(topics.actions)
        self._metrics = settings.output_topic(topics.metrics)
        self._dead_letters = settings.output_topic(topics.dead_letters)
        self._traces = settings.traces
        self._publish_analysis = settings.outputs.analysis
        self._source = f"stream_worker/{settings.application_id}"
        self._versions = versions
        self._no_bot = versions.of(None)
        self._limits = limits
        self._instant = 0
        self._common: dict[str, Headers] = {}

    def of_turn(self, decided: Decided, answered: Answered, spent: Timings, now_ms: int) -> tuple[Outgoing, ...]:
        """Everything a turn leaves that has a reply. Raises BadEvent when a record of it cannot fit its topic."""
        turn = decided.turn
        reply = self._reply(turn, decided.decision.intent, answered, now_ms)
        if reply is None:
            raise _too_large(self._replies)
        records = [reply]
        if decided.decision.commands:
            records += self._commands(turn, decided.decision.commands, now_ms)
        if self._publish_analysis:
            records.append(self._analysed(decided, answered, now_ms))
        records += self._turn_metrics(decided, answered, spent, now_ms)
        return tuple(records)

    def fallback(
        self, turn: Turn, reason: DeadLetterReason, message: str, now_ms: int
    ) -> tuple[tuple[Outgoing, ...], bool]:
        """A turn that could not be answered: its events as dead letters, and the bot's text for it as the reply.

        Also whether there is such a reply.
        """
        reply = None
        if turn.bot.error_reply:
            answered = Answered(text=turn.bot.error_reply, finish_reason=FinishReason.FALLBACK)
            reply = self._reply(turn, None, answered, now_ms)
        letters = self.letters(turn.pending, reason, message, now_ms, turn=turn, replied=reply is not None)
        return (letters, False) if reply is None else ((*letters, reply), True)

    def refused(
        self,
        ended: Iterable[tuple[Arrival, Outcome]],
        reason: DeadLetterReason,
        cause: str,
        now_ms: int,
        term: int,
    ) -> tuple[Outgoing, ...]:
        """Events whose records the broker refuses, and that get no reply: the letters of the dead, a metric of each."""
        records = []
        for arrival, outcome in ended:
            dead = outcome is Outcome.DEAD_LETTERED
            if dead:
                records.append(self.letter(arrival.record, reason, cause))
            records.append(self.metric(arrival, outcome, now_ms, term=term, reason=reason if dead else None))
        return tuple(records)

    def expired(self, turn: Turn, text: str, now_ms: int) -> tuple[Outgoing, ...]:
        """A turn that is too late, and the bot's text for it as the reply."""
        reply = self._reply(turn, None, Answered(text=text, finish_reason=FinishReason.FALLBACK), now_ms)
        records = [reply] if reply is not None else []
        for arrival, outcome in turn.pending.outcomes(Outcome.EXPIRED, Outcome.EXPIRED):
            replied = reply is not None and outcome is Outcome.EXPIRED
            records.append(self.metric(arrival, outcome, now_ms, turn=turn, replied=replied))
        return tuple(records)

    def letters(
        self,
        pending: PendingTurn,
        reason: DeadLetterReason,
        message: str,
        now_ms: int,
        *,
        turn: Turn | None = None,
        term: int = 0,
        replied: bool = False,
    ) -> tuple[Outgoing, ...]:
        """A turn's events as dead letters, with the metric of each; those that were taken back are not among them."""
        records = []
        for arrival, outcome in pending.outcomes(Outcome.DEAD_LETTERED, Outcome.DEAD_LETTERED):
            dead = outcome is Outcome.DEAD_LETTERED
            if dead:
                records.append(self.letter(arrival.record, reason, message, turn))
            why = reason if dead else None
            answered = dead and replied
            records.append(self.metric(arrival, outcome, now_ms, term=term, reason=why, turn=turn, replied=answered))
        return tuple(records)

    def letter(self, record: Record, reason: DeadLetterReason, message: str, turn: Turn | None = None) -> Outgoing:
        topic = self._dead_letters
        versions = self._versions.of(turn.bot) if turn else self._no_bot
        return dead_letter(record, reason, message, topic=topic, versions=versions, max_bytes=self._limits[topic])

    def undecodable(
        self, record: Record, reason: DeadLetterReason, message: str, now_ms: int, term: int
    ) -> tuple[Outgoing, ...]:
        """A record that is no event: the dead letter, and the metric every settled event leaves."""
        metric = EventMetric(
            event_id=f"{record.topic}/{record.partition}/{record.offset}",
            event_type="",
            source="",
            conversation_id="",
            tenant="",
            turn_id=None,
            reply_id=None,
            partition=record.partition,
            offset=record.offset,
            outcome=Outcome.DEAD_LETTERED,
            reason=reason,
            attempt=0,
            term=term,
            at=now_ms,
            timings=Timings(total=max(0, now_ms - record.timestamp_ms) / 1000),
            versions=self._no_bot,
        )
        headers = self._headers(metric.event_id, "metric", _NO_HEADERS, now_ms)
        letter = self.letter(record, reason, message)
        key = record.key if record.key is not None and len(record.key) <= _MAX_FOREIGN_KEY_BYTES else None
        return (letter, Outgoing(self._metrics, key, orjson.dumps(metric), headers))

    def metric(
        self,
        arrival: Arrival,
        outcome: Outcome,
        now_ms: int,
        *,
        term: int = 0,
        reason: DeadLetterReason | None = None,
        turn: Turn | None = None,
        finish_reason: FinishReason | None = None,
        timings: Timings | None = None,
        tokens: Tokens | None = None,
        replied: bool = False,
    ) -> Outgoing:
        """The record that every settled event leaves."""
        event = arrival.event
        if timings is None:
            timings = Timings(total=max(0, now_ms - arrival.record.timestamp_ms) / 1000)
        metric = EventMetric(
            event_id=arrival.event_id,
            event_type=event.type,
            source=arrival.source,
            conversation_id=event.conversation_id,
            tenant=event.tenant,
            turn_id=turn.ref.turn_id if turn else None,
            reply_id=turn.reply_id if turn and replied else None,
            partition=arrival.record.partition,
            offset=arrival.offset,
            outcome=outcome,
            reason=reason,
            finish_reason=finish_reason,
            attempt=turn.ref.attempt if turn else 0,
            term=turn.ref.term if turn else term,
            at=now_ms,
            timings=timings,
            tokens=tokens or _NO_TOKENS,
            versions=self._versions.of(turn.bot) if turn else self._no_bot,
        )
        headers = self._headers(arrival.event_id, "metric", arrival.headers, now_ms)
        return Outgoing(self._metrics, arrival.conversation.encode(), orjson.dumps(metric), headers)

    def delta(self, turn: Turn, piece: Piece, now_ms: int) -> Outgoing:
        """One piece of a preview."""
        event = turn.first.event
        delta = Delta(
            turn_id=turn.ref.turn_id,
            conversation_id=event.conversation_id,
            tenant=event.tenant,
            term=turn.ref.term,
            attempt=turn.ref.attempt,
            seq=piece.seq,
            state=piece.state,
            at=piece.at,
            text=piece.text,
            versions=self._versions.of(turn.bot),
        )
        name = f"{turn.ref.turn_id}/{turn.ref.term}/{turn.ref.attempt}/{piece.seq}"
        headers = self._headers(name, "delta", turn.first.headers, now_ms)
        return Outgoing(self._deltas, turn.conversation.encode(), orjson.dumps(delta), headers)

    def fits(self, record: Outgoing) -> bool:
        """Whether its topic takes it."""
        return record.size <= self._limits[record.topic]

    def _reply(self, turn: Turn, intent: str | None, answered: Answered, now_ms: int) -> Outgoing | None:
        """The reply, its text cut where it must be; None where it does not fit without any."""
        event = turn.first.event
        text, truncated = answered.text, False
        while True:
            reply = Reply(
                reply_id=turn.reply_id,
                turn_id=turn.ref.turn_id,
                conversation_id=event.conversation_id,
                tenant=event.tenant,
                channel=event.channel,
                in_reply_to=_answered(turn.pending),
                text=text,
                truncated=truncated,
                finish_reason=answered.finish_reason,
                intent=intent,
                term=turn.ref.term,
                attempt=turn.ref.attempt,
                at=now_ms,
                versions=self._versions.of(turn.bot),
                metadata=event.metadata,
            )
            headers = self._headers(reply.reply_id, "reply", self._carried(turn), now_ms)
            record = Outgoing(self._replies, turn.conversation.encode(), orjson.dumps(reply), headers)
            if self.fits(record):
                return record
            if not text:
                return None
            text, truncated = text[: len(text) // 2], True

    def _commands(self, turn: Turn, drafts: Iterable[CommandDraft], now_ms: int) -> list[Outgoing]:
        event = turn.first.event
        records = []
        for number, draft in enumerate(drafts, start=1):
            command = Command(
                command_id=f"{turn.reply_id}/{number}",
                turn_id=turn.ref.turn_id,
                conversation_id=event.conversation_id,
                tenant=event.tenant,
                name=draft.name,
                arguments=draft.arguments,
                at=now_ms,
                versions=self._versions.of(turn.bot),
                remind_at=None if draft.remind_after_s is None else now_ms + int(draft.remind_after_s * 1000),
            )
            headers = self._headers(command.command_id, "command", self._carried(turn), now_ms)
            record = Outgoing(self._actions, turn.conversation.encode(), orjson.dumps(command), headers)
            if not self.fits(record):
                raise _too_large(self._actions)
            records.append(record)
        return records

    def _analysed(self, decided: Decided, answered: Answered, now_ms: int) -> Outgoing:
        turn = decided.turn
        analysis = analysis_of(decided, answered, self._versions.of(turn.bot), now_ms)
        headers = self._headers(turn.ref.turn_id, "analysis", turn.first.headers, now_ms)
        record = Outgoing(self._analysis, turn.conversation.encode(), orjson.dumps(analysis), headers)
        if self.fits(record):
            return record
        return Outgoing(self._analysis, turn.conversation.encode(), orjson.dumps(without_evidence(analysis)), headers)

    def _turn_metrics(self, decided: Decided, answered: Answered, spent: Timings, now_ms: int) -> list[Outgoing]:
        """Tokens and times stand on the event that is `replied`."""
        turn, generated = decided.turn, answered.generated
        usage = generated.usage if generated else None
        records = []
        for arrival, outcome in turn.pending.outcomes(Outcome.REPLIED, Outcome.MERGED):
            if outcome is Outcome.REPLIED:
                tokens = Tokens(prompt=usage.prompt, cached=usage.cached, generated=usage.generated) if usage else None
                record = self.metric(
                    arrival,
                    outcome,
                    now_ms,
                    turn=turn,
                    finish_reason=answered.finish_reason,
                    timings=spent,
                    tokens=tokens,
                    replied=True,
                )
            else:
                record = self.metric(arrival, outcome, now_ms, turn=turn, replied=outcome is Outcome.MERGED)
            records.append(record)
        return records

    def _carried(self, turn: Turn) -> InputHeaders:
        """Whose trace a reader of the reply continues: the event's, or where turns are traced the turn's."""
        return carried_on(turn, links=self._traces.parenting == "link") if self._traces.enabled else turn.first.headers

    def _headers(self, event_id: str, kind: str, of: InputHeaders, now_ms: int) -> Headers:
        if self._instant != now_ms:
            # Hundreds of records are built in one instant; what they share is encoded once.
            self._instant, self._common = now_ms, {}
        common = self._common.get(kind)
        if common is None:
            at = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat()
            common = common_headers(type_=f"stream_worker.{kind}", source=self._source, at=at)
            self._common[kind] = common
        return output_headers(common, event_id, of)


def timings(decided: Decided, generated: Generated | None, moment: Moment) -> Timings:
    """Where a turn's time went, in seconds."""
    turn = decided.turn
    timestamp_ms = turn.first.record.timestamp_ms
    return Timings(
        waiting=max(0, turn.started_ms - timestamp_ms) / 1000,
        parse=turn.parse_seconds,
        understand=decided.understanding.seconds if decided.understanding else 0.0,
        dialogue=decided.deciding,
        calls=decided.calling,
        queued=generated.queued_seconds if generated else 0.0,
        first_token=generated.first_token_seconds if generated else 0.0,
        generate=generated.seconds if generated else 0.0,
        total=max(max(0, moment.wall_ms - timestamp_ms) / 1000, moment.monotonic - turn.started),
    )


def _too_large(topic: str) -> BadEvent:
    return BadEvent(
        Code.RECORD_TOO_LARGE,
        f"a record is larger than {topic} takes: raise its max.message.bytes",
        DeadLetterReason.TOO_LARGE,
    )


def _answered(pending: PendingTurn) -> list[str]:
    """Ids of the events that a turn's reply answers: what was taken back is none of them."""
    ended = pending.outcomes(Outcome.REPLIED, Outcome.MERGED)
    return [arrival.event_id for arrival, outcome in ended if outcome is not Outcome.WITHDRAWN]
