"""One event's way from record to settlement: the only place that knows the order of the stages.

    admit → mailbox → start (parse) → understand → decide (dialogue) → generate → check → settle

Runs on the worker thread and never blocks: what needs the device is an order,
and its result comes back through `absorb`. Everything that ends leaves through
the settler, exactly once for each event.
"""

import heapq
from collections.abc import Mapping, Sequence
from itertools import count
from typing import assert_never

from stream_worker.admission.breaker import Breaker
from stream_worker.admission.expiry import has_expired
from stream_worker.admission.queue import ReadyQueue
from stream_worker.assignment import Assignment
from stream_worker.bot.bot import Bot
from stream_worker.bot.bots import Bots
from stream_worker.clock import Clock
from stream_worker.contracts.decode import Arrival, DecodeRules, Undecodable, decode
from stream_worker.contracts.event import Deletion, Edit, Erasure, Signal
from stream_worker.conversation.deduplication import remembers
from stream_worker.conversation.mailbox import (
    PendingTurn,
    Preempt,
    Queued,
    Restart,
    Shed,
    StateEvent,
    Waiting,
    starts_turn,
)
from stream_worker.conversation.state import Holder
from stream_worker.errors import BadEvent, Code, Fatal
from stream_worker.inference.engine import Engine
from stream_worker.kafka.ledger import Sight
from stream_worker.observer import Observer
from stream_worker.orders import (
    Cancel,
    Encode,
    Encoded,
    Ended,
    Failed,
    Fault,
    Forget,
    Generate,
    Generated,
    Result,
    Token,
    TurnRef,
)
from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome
from stream_worker.previews import Previews
from stream_worker.publication import Answered
from stream_worker.record import Record
from stream_worker.settings import Settings
from stream_worker.settler import Settler
from stream_worker.stages.check import Passed, check
from stream_worker.stages.dialogue import ModelAnswer, TextAnswer, decide
from stream_worker.stages.notice import heard, notice
from stream_worker.stages.parsing import Parser
from stream_worker.stages.prompter import Prompter
from stream_worker.turn import Decided, Generating, Phase, Resting, Turn, Understanding, seed_of, turn_id


class Pipeline:
    def __init__(
        self,
        settings: Settings,
        *,
        assignments: Mapping[int, Assignment],
        bots: Bots,
        engine: Engine,
        prompter: Prompter,
        settler: Settler,
        previews: Previews,
        observer: Observer,
        clock: Clock,
    ) -> None:
        self._limits = settings.admission
        self._assignments = assignments
        self._bots = bots
        self._engine = engine
        self._prompter = prompter
        self._settler = settler
        self._previews = previews
        self._observer = observer
        self._clock = clock
        self._rules = DecodeRules(
            tenants=settings.admission.tenants,
            max_text_chars=settings.admission.max_text_chars,
            wrong_key_allowed=settings.kafka.on_wrong_key == "warn",
        )
        self._parsers = {bot.name: Parser(bot.languages) for bot in bots.all}
        self._ready = ReadyQueue()
        self._running = 0
        self._timers: list[tuple[float, int, TurnRef]] = []
        self._numbers = count()
        self._breaker = Breaker(settings.admission.retry_backoff_ms / 1000)
        self._now_ms = clock.now_ms()
        self._now = clock.monotonic()

    @property
    def running(self) -> int:
        """Turns on the device or resting."""
        return self._running

    @property
    def engine_away(self) -> bool:
        return self._breaker.is_open

    # What comes in

    def tick(self) -> None:
        """Reads the clock, once a tick; then does what is due: retries, time limits, previews, turns that fit now."""
        self._now_ms, self._now = self._clock.now_ms(), self._clock.monotonic()
        while self._timers and self._timers[0][0] <= self._now:
            _, _, ref = heapq.heappop(self._timers)
            self._ring(ref)
        self._previews.tick(self._now, self._now_ms)
        self._start_ready()

    def admit(self, assignment: Assignment, record: Record) -> None:
        """A record that was read. What the ledger has settled is passed over."""
        for offset in assignment.ledger.vanished_before(record.offset):
            self._observer.warned(f"the open record at {offset} is gone from the topic", assignment.partition)
        if assignment.ledger.see(record.offset) not in (Sight.NEW, Sight.RESTORED):
            return
        assignment.held_bytes += len(record.value or b"")
        assignment.timestamps[record.offset] = record.timestamp_ms
        decoded = decode(record, self._rules)
        if isinstance(decoded, Undecodable):
            self._settler.undecodable(assignment, decoded, self._now_ms)
            return
        assignment.waiting_events += 1
        if has_expired(decoded, self._now_ms, self._limits.max_event_age_ms):
            self._settler.events(assignment, [decoded], Outcome.EXPIRED, self._now_ms)
            return
        self._place(assignment, decoded)

    def absorb(self, results: Sequence[Result]) -> None:
        """What came back from other threads. Late results end here, and nowhere else."""
        for result in results:
            if isinstance(result, Failed) and result.fault is Fault.FATAL:
                raise Fatal(Code.ENGINE_REQUEST_FAILED, result.message)
            found = self._find(result.ref)
            if found is not None:
                self._apply_result(*found, result)
            elif not isinstance(result, Ended):
                self._observer.late_result()
        self._start_ready()

    def put_back(self, assignment: Assignment, settled: Sequence[Sequence[Arrival]]) -> None:
        """Settlements of one conversation that were taken back: their events wait again, before all others."""
        conversation = settled[0][0].conversation
        mailbox = assignment.mailbox(conversation)
        if mailbox.running is not None:
            self._cancel(assignment, mailbox.running)
        entries: list[Waiting] = []
        for arrivals in settled:
            entries += _entries(arrivals)
            assignment.waiting_events += len(arrivals)
        mailbox.put_back(entries)
        self._advance(assignment, conversation)

    def drop(self, assignment: Assignment) -> None:
        """The partition is gone: its turns are cancelled, and nothing of them settles."""
        for phase in list(assignment.turns.values()):
            self._cancel(assignment, phase.turn.pending)

    # Mailbox

    def _place(self, assignment: Assignment, arrival: Arrival) -> None:
        conversation = arrival.conversation
        placement = assignment.mailbox(conversation).put(arrival)
        match placement:
            case Queued():
                pass
            case Shed():
                self._settler.events(assignment, [arrival], Outcome.SHED, self._now_ms)
            case Restart(turn=pending):
                self._begin_again(assignment, assignment.turns[turn_id(pending.first)], pending)
            case Preempt(running=running, withdrawn=withdrawn):
                if running is not None:
                    self._cancel(assignment, running)
                if withdrawn:
                    self._settler.events(assignment, withdrawn, Outcome.WITHDRAWN, self._now_ms)
            case _:
                assert_never(placement)
        self._advance(assignment, conversation)

    def _advance(self, assignment: Assignment, conversation: str) -> None:
        """Starts what may start now in this conversation. Nothing does in a partition that is given away."""
        if assignment.is_closing:
            return
        mailbox = assignment.mailbox(conversation)
        while (head := mailbox.head) is not None:
            if isinstance(head, PendingTurn) and not self._has_room():
                self._ready.add(
                    timestamp_ms=head.first.record.timestamp_ms,
                    partition=assignment.partition,
                    term=assignment.term,
                    conversation=conversation,
                    tenant=head.first.event.tenant,
                )
                return
            mailbox.next()
            if isinstance(head, StateEvent):
                self._note(assignment, head.arrival)
            else:
                self._start(assignment, head)
        assignment.tidy(conversation)

    def _has_room(self) -> bool:
        return self._running < self._limits.max_running_turns and self._breaker.may_try(self._now)

    def _start_ready(self) -> None:
        while self._has_room() and (candidate := self._ready.pop()) is not None:
            assignment = self._assignments.get(candidate.partition)
            if assignment is not None and assignment.term == candidate.term:
                self._advance(assignment, candidate.conversation)

    def _note(self, assignment: Assignment, arrival: Arrival) -> None:
        """An event that nobody answers."""
        if _is_duplicate(assignment, arrival):
            self._settler.events(assignment, [arrival], Outcome.DUPLICATE, self._now_ms)
            return
        if isinstance(arrival.event, Erasure):
            self._engine.submit(Forget(conversation=arrival.conversation, at_once=True))
        self._settler.events(
            assignment,
            [arrival],
            Outcome.SILENT,
            self._now_ms,
            changes=notice(arrival),
            bot=self._bots.find(arrival.event.tenant, arrival.event.channel),
            remember=not isinstance(arrival.event, Signal),
        )

    # A turn

    def _start(
        self,
        assignment: Assignment,
        pending: PendingTurn,
        *,
        attempt: int = 1,
        failures: int = 0,
        successes_seen: int | None = None,
    ) -> None:
        """Parses the message and sends it to be understood; or ends the turn where nothing is to be answered."""
        first, text = pending.first, pending.text
        bot = self._ends_unanswered(assignment, pending, text)
        if bot is None or text is None:
            assignment.mailbox(first.conversation).finish()
            return
        started = self._clock.monotonic()
        parsed = self._parsers[bot.name].parse(text)
        turn = Turn(
            ref=TurnRef(assignment.partition, assignment.term, turn_id(first), attempt),
            conversation=first.conversation,
            pending=pending,
            bot=bot,
            text=text,
            started=started,
            started_ms=self._now_ms,
            parsed=parsed,
            parse_seconds=self._clock.monotonic() - started,
            failures=failures,
            successes_seen=successes_seen,
        )
        self._running += 1
        self._ready.started(first.event.tenant)
        if bot.understanding is None:
            self._decide(assignment, turn, None)
            return
        assignment.turns[turn.ref.turn_id] = Understanding(turn, self._time_limit(turn.ref))
        self._engine.submit(Encode(ref=turn.ref, text=text, heads=bot.understanding))

    def _ends_unanswered(self, assignment: Assignment, pending: PendingTurn, text: str | None) -> Bot | None:
        """The bot that is to answer; None where the turn was settled without a reply."""
        first, arrivals = pending.first, pending.arrivals
        if _is_duplicate(assignment, first):
            self._settler.events(assignment, [first], Outcome.DUPLICATE, self._now_ms)
            for arrival in arrivals[1:]:
                self._note(assignment, arrival)
            return None
        if has_expired(first, self._now_ms, self._limits.max_event_age_ms):
            self._settler.events(assignment, arrivals, Outcome.EXPIRED, self._now_ms)
            return None
        if text is None:
            self._settler.events(assignment, arrivals, Outcome.WITHDRAWN, self._now_ms)
            return None
        bot = self._bots.find(first.event.tenant, first.event.channel)
        if bot is None:
            message = "no bot is bound to the event's tenant and channel: add one to `bots` in the settings"
            self._settler.unanswerable(assignment, arrivals, DeadLetterReason.NO_BOT, message, self._now_ms)
            return None
        if assignment.states.get(first.conversation).holder is Holder.HUMAN:
            changes = (heard(first, text),)
            self._settler.events(assignment, arrivals, Outcome.SILENT, self._now_ms, changes=changes, bot=bot)
            return None
        return bot

    def _apply_result(self, assignment: Assignment, phase: Phase, result: Result) -> None:
        match phase, result:
            case Understanding(turn=turn), Encoded():
                self._decide(assignment, turn, result)
            case Generating(), Token():
                self._previews.add(result.ref, result.text, self._now, self._now_ms)
            case Generating(), Generated():
                self._breaker.succeed()
                self._check(assignment, phase, result)
            case ((Understanding() | Generating()), Failed()):
                self._fail(assignment, phase.turn, result)
            case _:
                self._observer.late_result()

    def _decide(self, assignment: Assignment, turn: Turn, understanding: Encoded | None) -> None:
        state = assignment.states.get(turn.conversation)
        decided = Decided(turn, understanding, decide(turn.bot, state, understanding))
        answer = decided.decision.answer
        match answer:
            case TextAnswer(text=text):
                answered = Answered(text=text, finish_reason=FinishReason.TEMPLATE)
                self._end_turn(assignment, turn)
                self._settler.reply(assignment, decided, answered, None, 0, self._now_ms, self._now)
                self._finish(assignment, turn)
            case ModelAnswer():
                self._generate(assignment, decided)
            case _:
                assert_never(answer)

    def _generate(self, assignment: Assignment, decided: Decided) -> None:
        turn = decided.turn
        state = assignment.states.get(turn.conversation)
        try:
            prompt = self._prompter.prepare(turn.bot.system, state, turn.text)
        except BadEvent as error:
            self._give_up(assignment, turn, error.reason, str(error))
            return
        seed = seed_of(turn.ref.turn_id)
        assignment.turns[turn.ref.turn_id] = Generating(decided, prompt, seed, self._time_limit(turn.ref))
        self._previews.open(turn)
        self._engine.submit(
            Generate(
                ref=turn.ref,
                conversation=turn.conversation,
                prompt=prompt.prompt,
                sampling=turn.bot.sampling,
                seed=seed,
                cache_scope=f"{turn.first.event.tenant}/{turn.bot.name}/{turn.bot.version}",
            )
        )

    def _check(self, assignment: Assignment, phase: Generating, generated: Generated) -> None:
        """The output check; then the turn settles."""
        turn = phase.turn
        verdict = check(turn.bot, generated.text)
        passed = isinstance(verdict, Passed)
        answered = Answered(
            text=verdict.text,
            finish_reason=generated.finish_reason if passed else FinishReason.REFUSED,
            checks=() if isinstance(verdict, Passed) else (verdict.rule,),
            generated=generated,
            prompt_hash=phase.prompt.hash,
            seed=phase.seed,
        )
        self._previews.done(turn.ref, verdict.text, self._now_ms)
        stored = self._prompter.store(phase.prompt, generated.ids) if passed else None
        dropped = phase.prompt.dropped
        self._end_turn(assignment, turn)
        self._settler.reply(assignment, phase.decided, answered, stored, dropped, self._now_ms, self._now)
        self._finish(assignment, turn)

    def _finish(self, assignment: Assignment, turn: Turn) -> None:
        """The turn has settled; the next one of its conversation may start."""
        assignment.mailbox(turn.conversation).finish()
        self._advance(assignment, turn.conversation)

    def _end_turn(self, assignment: Assignment, turn: Turn) -> None:
        """The turn is no longer in hand; whatever still comes of this attempt is late."""
        assignment.turns.pop(turn.ref.turn_id, None)
        self._previews.void(turn.ref, self._now_ms)
        self._running -= 1
        self._ready.ended(turn.first.event.tenant)

    def _cancel(self, assignment: Assignment, pending: PendingTurn) -> None:
        turn = assignment.turns[turn_id(pending.first)].turn
        self._engine.submit(Cancel(ref=turn.ref))
        self._end_turn(assignment, turn)

    def _begin_again(self, assignment: Assignment, phase: Phase, pending: PendingTurn) -> None:
        """The next attempt of a turn, of what `pending` now holds."""
        turn = phase.turn
        resting = isinstance(phase, Resting)
        if not resting:
            self._engine.submit(Cancel(ref=turn.ref))
        self._end_turn(assignment, turn)
        self._start(
            assignment,
            pending,
            attempt=turn.ref.attempt + 1,
            failures=phase.failures if isinstance(phase, Resting) else turn.failures,
            successes_seen=phase.successes_seen if isinstance(phase, Resting) else turn.successes_seen,
        )
        self._advance(assignment, turn.conversation)

    # What goes wrong

    def _fail(self, assignment: Assignment, turn: Turn, failed: Failed) -> None:
        """An event's fault counts as an attempt; an engine's is nobody's, unless others succeeded meanwhile."""
        seen = turn.successes_seen
        blamed = seen is not None and self._breaker.successes > seen
        if failed.fault is Fault.ENGINE and not blamed:
            self._observer.engine_away(failed.message)
            self._rest(assignment, turn, self._breaker.fail(self._now), turn.failures, self._breaker.successes)
        else:
            self._count_attempt(assignment, turn, failed.reason, failed.message)

    def _count_attempt(self, assignment: Assignment, turn: Turn, reason: DeadLetterReason, message: str) -> None:
        self._observer.attempt_failed(turn, reason, message)
        failures = turn.failures + 1
        if failures < self._limits.max_attempts:
            until = self._now + self._limits.retry_backoff_ms / 1000
            self._rest(assignment, turn, until, failures, turn.successes_seen)
        else:
            self._give_up(assignment, turn, reason, message)

    def _give_up(self, assignment: Assignment, turn: Turn, reason: DeadLetterReason, message: str) -> None:
        self._end_turn(assignment, turn)
        self._settler.dead_letter(assignment, turn, reason, message, self._now_ms)
        self._finish(assignment, turn)

    def _rest(
        self, assignment: Assignment, turn: Turn, until: float, failures: int, successes_seen: int | None
    ) -> None:
        self._previews.void(turn.ref, self._now_ms)
        assignment.turns[turn.ref.turn_id] = Resting(turn, until, failures, successes_seen)
        self._set_timer(until, turn.ref)

    # Timers

    def _time_limit(self, ref: TurnRef) -> float:
        deadline = self._now + self._limits.max_turn_ms / 1000
        self._set_timer(deadline, ref)
        return deadline

    def _set_timer(self, when: float, ref: TurnRef) -> None:
        heapq.heappush(self._timers, (when, next(self._numbers), ref))

    def _ring(self, ref: TurnRef) -> None:
        """A timer of a turn: the end of its rest, or of its time, which stands still while the engine is away."""
        found = self._find(ref)
        if found is None:
            return
        assignment, phase = found
        if isinstance(phase, Resting):
            if self._now >= phase.until:
                self._begin_again(assignment, phase, phase.turn.pending)
        elif self._breaker.is_open:
            self._set_timer(self._now + self._limits.max_turn_ms / 1000, ref)
        elif self._now >= phase.deadline:
            self._engine.submit(Cancel(ref=ref))
            message = f"the turn took longer than admission.max_turn_ms ({self._limits.max_turn_ms} ms)"
            self._count_attempt(assignment, phase.turn, DeadLetterReason.TURN_TIMEOUT, message)

    def _find(self, ref: TurnRef) -> tuple[Assignment, Phase] | None:
        """The live assignment and phase of a running attempt; None for anything late."""
        assignment = self._assignments.get(ref.partition)
        if assignment is None or assignment.term != ref.term:
            return None
        phase = assignment.running(ref)
        return None if phase is None else (assignment, phase)


def _is_duplicate(assignment: Assignment, arrival: Arrival) -> bool:
    """Whether an event with this id settled before; a redrive passes."""
    if arrival.headers.redrive:
        return False
    return remembers(assignment.states.get(arrival.conversation).remembered, arrival.digest)


def _entries(arrivals: Sequence[Arrival]) -> list[Waiting]:
    """A settlement's events as a mailbox held them: one turn with what joined it, or each by itself."""
    first, *others = arrivals
    if starts_turn(first) and all(isinstance(other.event, Edit | Deletion) for other in others):
        return [PendingTurn(tuple(arrivals))]
    return [PendingTurn((arrival,)) if starts_turn(arrival) else StateEvent(arrival) for arrival in arrivals]
