"""One turn's way through the stages: the only place that knows their order.

    start (parse) → understand → decide (dialogue, calls) → generate → check → settle

Runs on the worker thread and never blocks: what needs the device is an order,
and its result comes back through `absorb`. Everything that ends leaves through
the settler, exactly once for each event.
"""

import heapq
from collections.abc import Mapping, Sequence
from itertools import count
from typing import assert_never

from msgspec.structs import replace

from stream_worker.admission.breaker import Breaker
from stream_worker.admission.expiry import has_expired
from stream_worker.assignment import Assignment, Phase
from stream_worker.bot.bot import Bot
from stream_worker.bot.bots import Bots
from stream_worker.caller import Caller
from stream_worker.clock import Clock, Moment
from stream_worker.contracts.decode import Arrival
from stream_worker.contracts.event import Erasure, Signal
from stream_worker.conversation.deduplication import digest, remembers
from stream_worker.conversation.pending import PendingTurn
from stream_worker.errors import BadEvent, Code, Fatal, PartitionRefused
from stream_worker.inference.engine import Engine
from stream_worker.observer import Observer
from stream_worker.orders import (
    Call,
    Called,
    CallFailed,
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
from stream_worker.settings import Settings
from stream_worker.settler import Settler
from stream_worker.stages.addressing import is_addressed
from stream_worker.stages.check import Passed, check
from stream_worker.stages.dialogue import (
    Heard,
    ModelAnswer,
    Plan,
    TextAnswer,
    conclude,
    conclude_without,
    plan,
    taken,
)
from stream_worker.stages.handoff import has_human
from stream_worker.stages.notice import heard_lines, notice
from stream_worker.stages.parsing import parser_for
from stream_worker.stages.prompter import Prompter
from stream_worker.suspicion import Caution
from stream_worker.tokens import StoredPrompt
from stream_worker.turn import Calling, Decided, Generating, Resting, Turn, Understanding, reply_id, seed_of
from stream_worker.turn import Phase as TurnPhase

_SUSPECT_CHECK_S = 0.02


class Turns:
    def __init__(
        self,
        settings: Settings,
        *,
        assignments: Mapping[int, Assignment],
        caution: Caution,
        bots: Bots,
        engine: Engine,
        caller: Caller,
        prompter: Prompter,
        settler: Settler,
        previews: Previews,
        observer: Observer,
        clock: Clock,
    ) -> None:
        self._limits = settings.admission
        self._assignments = assignments
        self._caution = caution
        self._bots = bots
        self._engine = engine
        self._caller = caller
        self._prompter = prompter
        self._settler = settler
        self._previews = previews
        self._observer = observer
        self._clock = clock
        self._running = 0
        self._running_of: dict[str, int] = {}
        self._freed: list[tuple[Assignment, str]] = []
        self._timers: list[tuple[float, int, TurnRef]] = []
        self._numbers = count()
        self._breaker = Breaker(settings.admission.retry_backoff_ms / 1000)

    @property
    def running(self) -> int:
        """Turns on the device or resting."""
        return self._running

    @property
    def engine_away(self) -> bool:
        """Whether turns wait for an engine that failed."""
        return self._breaker.is_open and any(
            isinstance(phase, Resting) for each in self._assignments.values() for phase in each.turns.values()
        )

    def running_of(self, tenant: str) -> int:
        return self._running_of.get(tenant, 0)

    @property
    def has_room(self) -> bool:
        """Whether another turn may start."""
        return self._running < self._limits.max_running_turns

    def take_freed(self) -> list[tuple[Assignment, str]]:
        """Conversations whose turn ended since the last call: their next one may start."""
        freed, self._freed = self._freed, []
        return freed

    def tick(self, moment: Moment) -> None:
        """What is due by now: retries, time limits, previews."""
        while self._timers and self._timers[0][0] <= moment.monotonic:
            _, _, ref = heapq.heappop(self._timers)
            try:
                self._ring(ref, moment)
            except PartitionRefused as error:
                self.refuse(error, moment)
        self._previews.tick(moment)

    def absorb(self, results: Sequence[Result], moment: Moment) -> None:
        """What came back from other threads. Late results end here, and nowhere else."""
        for result in results:
            if isinstance(result, Failed) and result.fault is Fault.FATAL:
                raise Fatal(Code.ENGINE_REQUEST_FAILED, result.message)
            found = self._find(result.ref)
            if found is None:
                if not isinstance(result, Ended):
                    self._observer.late_result()
                continue
            try:
                self._apply_result(*found, result, moment)
            except PartitionRefused as error:
                self.refuse(error, moment)

    def begin_again(self, assignment: Assignment, pending: PendingTurn, moment: Moment) -> None:
        """The next attempt of a running turn, of what `pending` now holds."""
        phase = assignment.turns[pending.first.identity]
        if isinstance(phase, Resting) and not pending.is_withdrawn:
            self._rest(assignment, phase, pending, moment)
        else:
            self._begin_again(assignment, phase, pending, moment)

    def cancel(self, assignment: Assignment, pending: PendingTurn, moment: Moment) -> None:
        """Ends a running turn; its events are the caller's again."""
        phase = assignment.turns[pending.first.identity]
        self._stop(phase)
        self._end_turn(assignment, phase.turn, moment)
        assignment.suspicion.clear(phase.turn.first.offset)

    def drop(self, assignment: Assignment, moment: Moment) -> None:
        """The partition is gone: its turns are cancelled, and nothing of them settles."""
        for phase in list(assignment.turns.values()):
            self.cancel(assignment, phase.turn.pending, moment)

    def refuse(self, error: PartitionRefused, moment: Moment) -> None:
        """A state that cannot be read: its partition stands still until a person has looked; the others go on.

        Whoever meets the error goes on with the next record or result: those may be of other partitions.
        """
        assignment = self._assignments.get(error.partition) if error.partition is not None else None
        if assignment is None:
            raise error
        self._observer.refused(error)
        self.drop(assignment, moment)
        self._settler.drop(assignment.partition)
        assignment.move_to(Phase.REFUSED)

    def was_settled(self, assignment: Assignment, arrival: Arrival) -> bool:
        """Whether an event with this id settled before; a redrive passes."""
        if arrival.headers.redrive:
            return False
        return remembers(assignment.states.get(arrival.conversation).remembered, digest(arrival.identity))

    def withdraw(self, assignment: Assignment, pending: PendingTurn, moment: Moment, *, heard: bool) -> None:
        """Ends a turn that nobody answers any more; `heard` keeps what was said in the history."""
        event = pending.first.event
        bot = self._bots.find(event.tenant, event.channel)
        changes = heard_lines(pending, bot) if heard else ()
        self._settler.unanswered(assignment, pending, Outcome.WITHDRAWN, moment, changes=changes, bot=bot)

    def note(self, assignment: Assignment, arrival: Arrival, moment: Moment) -> None:
        """An event that nobody answers."""
        if isinstance(arrival.event, Erasure):
            self._engine.submit(Forget(conversation=arrival.conversation, at_once=True))
        bot = self._bots.find(arrival.event.tenant, arrival.event.channel)
        self._settler.events(
            assignment,
            [arrival],
            Outcome.SILENT,
            moment,
            changes=notice(arrival, assignment.states.get(arrival.conversation), bot),
            remember=not isinstance(arrival.event, Signal),
        )

    def start(
        self,
        assignment: Assignment,
        pending: PendingTurn,
        moment: Moment,
        *,
        attempt: int = 1,
        failures: int = 0,
        successes_seen: int | None = None,
        deadline: float | None = None,
    ) -> None:
        """Parses the messages and sends them to be understood; or ends the turn where nothing is to be answered."""
        first = pending.first
        bot = self._ends_unanswered(assignment, pending, moment)
        if bot is None:
            assignment.mailbox(first.conversation).finish()
            return
        ref = TurnRef(assignment.partition, assignment.term, first.identity, attempt)
        turn = self._parsed(ref, pending, bot, moment, failures, successes_seen, deadline)
        tenant = first.event.tenant
        self._running += 1
        self._running_of[tenant] = self._running_of.get(tenant, 0) + 1
        if bot.understanding is None or pending.trigger is not None:
            self._decide(assignment, turn, None, moment)
            return
        self._set_timer(turn.deadline, turn.ref)
        assignment.turns[turn.ref.turn_id] = Understanding(turn)
        order = Encode(ref=turn.ref, text=turn.text, heads=bot.understanding, language=turn.parsed.language)
        self._engine.submit(order)

    def _parsed(
        self,
        ref: TurnRef,
        pending: PendingTurn,
        bot: Bot,
        moment: Moment,
        failures: int = 0,
        successes_seen: int | None = None,
        deadline: float | None = None,
    ) -> Turn:
        """A turn with its text parsed."""
        first, text, started = pending.first, pending.text, self._clock.monotonic()
        parsed = parser_for(bot.languages).parse(text)
        return Turn(
            ref=ref,
            conversation=first.conversation,
            pending=pending,
            reply_id=reply_id(first.identity, first.headers.redrive),
            bot=bot,
            text=text,
            started=started,
            started_ms=moment.wall_ms,
            deadline=deadline or moment.monotonic + self._limits.max_turn_ms / 1000,
            parsed=parsed,
            parse_seconds=self._clock.monotonic() - started,
            failures=failures,
            successes_seen=successes_seen,
        )

    def _ends_unanswered(self, assignment: Assignment, pending: PendingTurn, moment: Moment) -> Bot | None:
        """The bot that is to answer; None where the turn was settled without a reply."""
        first = pending.first
        if pending.is_withdrawn:
            self._settler.unanswered(assignment, pending, Outcome.WITHDRAWN, moment)
            return None
        bot = self._bots.find(first.event.tenant, first.event.channel)
        asking = [said.arrival for said in pending.spoken] or [first]
        if all(has_expired(each, moment.wall_ms, self._limits.max_event_age_ms) for each in asking):
            self._expire(assignment, pending, bot, moment)
            return None
        if bot is None:
            message = "no bot is bound to the event's tenant and channel: add one to `bots` in the settings"
            self._settler.unanswerable(assignment, pending, DeadLetterReason.NO_BOT, message, moment)
            return None
        state = assignment.states.get(first.conversation)
        if has_human(bot, state, moment.wall_ms) or not is_addressed(bot, state, pending):
            self._be_silent(assignment, pending, bot, moment)
            return None
        if pending.trigger is not None and pending.trigger.name not in bot.triggers:
            message = "the bot file has no trigger of the event's name: add one to `triggers`"
            self._settler.unanswerable(assignment, pending, DeadLetterReason.UNKNOWN_TRIGGER, message, moment)
            return None
        return bot

    def _expire(self, assignment: Assignment, pending: PendingTurn, bot: Bot | None, moment: Moment) -> None:
        """Nobody waits for an answer any more; the bot may have a text for that, unless a human has it."""
        state = assignment.states.get(pending.first.conversation)
        if bot is None or bot.expired_reply is None or has_human(bot, state, moment.wall_ms):
            self._settler.unanswered(assignment, pending, Outcome.EXPIRED, moment)
            return
        ref = TurnRef(assignment.partition, assignment.term, pending.first.identity, 1)
        turn = self._parsed(ref, pending, bot, moment)
        self._settler.expired(assignment, turn, bot.expired_reply.render(turn.parsed.language, {}), moment)

    def _be_silent(self, assignment: Assignment, pending: PendingTurn, bot: Bot, moment: Moment) -> None:
        """What was said becomes history; nobody of ours answers."""
        changes = heard_lines(pending, bot)
        self._settler.unanswered(assignment, pending, Outcome.SILENT, moment, changes=changes, bot=bot)

    def _apply_result(self, assignment: Assignment, phase: TurnPhase, result: Result, moment: Moment) -> None:
        match phase, result:
            case Understanding(turn=turn), Encoded():
                self._decide(assignment, turn, result, moment)
            case Calling(), (Called() | CallFailed()):
                self._answered(assignment, phase, result, moment)
            case Generating(), Token():
                self._previews.add(result.ref, result.text, moment)
            case Generating(), Generated():
                self._breaker.succeed()
                self._check(assignment, phase, result, moment)
            case ((Understanding() | Generating()), Failed()):
                self._fail(assignment, phase.turn, result, moment)
            case _:
                self._observer.late_result()

    def _decide(self, assignment: Assignment, turn: Turn, understanding: Encoded | None, moment: Moment) -> None:
        state = assignment.states.get(turn.conversation)
        heard = Heard(
            text=turn.text,
            language=turn.parsed.language,
            understanding=understanding,
            sender_id=turn.pending.sender_id or next(reversed(state.dialogues), ""),
            now_ms=moment.wall_ms,
            trigger=turn.pending.trigger,
        )
        try:
            planned = plan(turn.bot, state, heard)
            if planned.calls:
                self._call(assignment, turn, understanding, planned)
                return
            decision = conclude(planned, {})
        except BadEvent as error:
            self._give_up(assignment, turn, error.reason, error.detail, moment)
            return
        self._answer(assignment, Decided(turn, understanding, decision), moment)

    def _call(self, assignment: Assignment, turn: Turn, understanding: Encoded | None, planned: Plan) -> None:
        """Makes the turn's calls, all at once; the decision waits for them."""
        self._set_timer(turn.deadline, turn.ref)
        assignment.turns[turn.ref.turn_id] = Calling(turn, understanding, planned, {})
        for number, draft in enumerate(planned.calls, start=1):
            call = draft.call
            self._caller.submit(
                Call(
                    ref=turn.ref,
                    number=number,
                    name=call.name,
                    url=draft.url,
                    parameters=draft.parameters,
                    headers=call.headers,
                    timeout_ms=call.timeout_ms,
                    retries=call.retries,
                )
            )

    def _answered(self, assignment: Assignment, phase: Calling, result: Called | CallFailed, moment: Moment) -> None:
        """A call has answered, or failed; after the last one, or the first that failed, it is decided."""
        turn, drafts = phase.turn, phase.plan.calls
        call = drafts[result.number - 1].call
        self._observer.called(turn, call.name, result.seconds, None if isinstance(result, Called) else result.message)
        try:
            if isinstance(result, CallFailed):
                self._caller.cancel(turn.ref, len(drafts))
                decision = conclude_without(phase.plan, turn.bot, call)
            else:
                results = {**phase.results, result.number: taken(call, result.result)}
                if len(results) < len(drafts):
                    assignment.turns[turn.ref.turn_id] = replace(phase, results=results)
                    return
                named = {draft.call.name: results[number] for number, draft in enumerate(drafts, start=1)}
                decision = conclude(phase.plan, named)
        except BadEvent as error:
            self._give_up(assignment, turn, error.reason, error.detail, moment)
            return
        self._answer(assignment, Decided(turn, phase.understanding, decision), moment)

    def _answer(self, assignment: Assignment, decided: Decided, moment: Moment) -> None:
        answer = decided.decision.answer
        match answer:
            case TextAnswer(text=text):
                answered = Answered(text=text, finish_reason=FinishReason.TEMPLATE)
                self._reply(assignment, decided, answered, None, 0, moment)
            case ModelAnswer():
                self._generate(assignment, decided, answer, moment)
            case _:
                assert_never(answer)

    def _generate(self, assignment: Assignment, decided: Decided, answer: ModelAnswer, moment: Moment) -> None:
        turn = decided.turn
        if (until := self._breaker.held_until(moment.monotonic)) is not None:
            resting = Resting(turn, until, turn.failures, turn.successes_seen)
            self._rest(assignment, resting, turn.pending, moment)
            return
        state = assignment.states.get(turn.conversation)
        if answer.facts:
            # Cut before they enter prompt and history, so that both say the same.
            answer = replace(answer, facts=self._prompter.cut(answer.facts, turn.bot.facts_tokens))
            decided = replace(decided, decision=replace(decided.decision, answer=answer))
        try:
            prompt = self._prompter.prepare(turn.bot.system, state, decided.lines)
        except BadEvent as error:
            self._give_up(assignment, turn, error.reason, error.detail, moment)
            return
        seed = seed_of(turn.ref.turn_id)
        self._set_timer(turn.deadline, turn.ref)
        assignment.turns[turn.ref.turn_id] = Generating(decided, prompt, seed)
        self._previews.open(turn)
        self._engine.submit(
            Generate(
                ref=turn.ref,
                conversation=turn.conversation,
                prompt=prompt.prompt,
                sampling=turn.bot.sampling.held_to(answer.json_schema),
                seed=seed,
                cache_scope=f"{turn.first.event.tenant}/{turn.bot.name}/{turn.bot.version}",
            )
        )

    def _check(self, assignment: Assignment, phase: Generating, generated: Generated, moment: Moment) -> None:
        """The output check; then the turn settles."""
        turn = phase.turn
        verdict = check(turn.bot, generated.text)
        passed = isinstance(verdict, Passed)
        answer = phase.decided.decision.answer
        suffix = f"\n{answer.suffix}" if isinstance(answer, ModelAnswer) and answer.suffix else ""
        answered = Answered(
            text=verdict.text + suffix,
            finish_reason=generated.finish_reason if passed else FinishReason.REFUSED,
            checks=() if isinstance(verdict, Passed) else (verdict.rule,),
            generated=generated,
            prompt_hash=phase.prompt.hash,
            seed=phase.seed,
        )
        # Text is the truth: ids that say more than the reply are not kept.
        keeps_ids = passed and not generated.stopped_at_text
        stored = self._prompter.store(phase.prompt, generated.ids, suffix) if keeps_ids else None
        self._reply(assignment, phase.decided, answered, stored, phase.prompt.dropped, moment)

    def _reply(
        self,
        assignment: Assignment,
        decided: Decided,
        answered: Answered,
        stored: StoredPrompt | None,
        dropped: int,
        moment: Moment,
    ) -> None:
        """The turn settles with its reply; silently, where a human has taken the conversation over meanwhile."""
        turn = decided.turn
        if has_human(turn.bot, assignment.states.get(turn.conversation), moment.wall_ms):
            self._end_turn(assignment, turn, moment)
            self._be_silent(assignment, turn.pending, turn.bot, moment)
        else:
            self._previews.done(turn.ref, answered.text, moment)
            self._end_turn(assignment, turn, moment)
            self._settler.reply(assignment, decided, answered, stored, dropped, moment)
        self._finish(assignment, turn)

    def _finish(self, assignment: Assignment, turn: Turn) -> None:
        """The turn has settled; the next one of its conversation may start."""
        assignment.mailbox(turn.conversation).finish()

    def _stop(self, phase: TurnPhase) -> None:
        """Whoever works on the turn may leave off; what still comes of it is late."""
        if isinstance(phase, Calling):
            self._caller.cancel(phase.turn.ref, len(phase.plan.calls))
        else:
            self._engine.submit(Cancel(ref=phase.turn.ref))

    def _end_turn(self, assignment: Assignment, turn: Turn, moment: Moment) -> None:
        """The turn is no longer in hand; whatever still comes of this attempt is late."""
        if assignment.turns.pop(turn.ref.turn_id, None) is not None:
            self._previews.void(turn.ref, moment)
            # A turn that was answered while it started was never here, and whoever started it goes on by itself.
            self._freed.append((assignment, turn.conversation))
        tenant = turn.first.event.tenant
        self._running -= 1
        self._running_of[tenant] -= 1
        if not self._running_of[tenant]:
            del self._running_of[tenant]

    def _begin_again(self, assignment: Assignment, phase: TurnPhase, pending: PendingTurn, moment: Moment) -> None:
        turn = phase.turn
        deadline = None
        if not isinstance(phase, Resting):
            deadline = turn.deadline
            self._stop(phase)
            phase = Resting(turn, moment.monotonic, turn.failures, turn.successes_seen)
            if pending.hold_until_ms > moment.wall_ms and not pending.is_withdrawn:
                self._previews.void(turn.ref, moment)
                self._rest(assignment, phase, pending, moment)
                return
        self._end_turn(assignment, turn, moment)
        self.start(
            assignment,
            pending,
            moment,
            attempt=turn.ref.attempt + 1,
            failures=phase.failures,
            successes_seen=phase.successes_seen,
            deadline=deadline,
        )

    # What goes wrong

    def _fail(self, assignment: Assignment, turn: Turn, failed: Failed, moment: Moment) -> None:
        """An event's fault counts as an attempt; an engine's is nobody's, unless others succeeded meanwhile."""
        seen = turn.successes_seen
        blamed = seen is not None and self._breaker.successes > seen
        if failed.fault is Fault.CONFIGURATION or (failed.fault is Fault.ENGINE and not blamed):
            self._observer.engine_away(failed.message)
            until = self._breaker.fail(moment.monotonic)
            assignment.suspicion.clear(turn.first.offset)
            resting = Resting(turn, until, turn.failures, self._breaker.successes)
            self._rest(assignment, resting, turn.pending, moment)
        else:
            self._count_attempt(assignment, turn, failed.reason, failed.message, moment)

    def _count_attempt(
        self, assignment: Assignment, turn: Turn, reason: DeadLetterReason, message: str, moment: Moment
    ) -> None:
        self._observer.attempt_failed(turn, reason, message)
        failures = turn.failures + 1
        if failures < self._limits.max_attempts:
            until = moment.monotonic + self._limits.retry_backoff_ms / 1000
            self._rest(assignment, Resting(turn, until, failures, turn.successes_seen), turn.pending, moment)
        else:
            self._give_up(assignment, turn, reason, message, moment)

    def _give_up(
        self, assignment: Assignment, turn: Turn, reason: DeadLetterReason, message: str, moment: Moment
    ) -> None:
        self._end_turn(assignment, turn, moment)
        self._settler.dead_letter(assignment, turn, reason, message, moment)
        self._finish(assignment, turn)

    def _rest(self, assignment: Assignment, resting: Resting, pending: PendingTurn, moment: Moment) -> None:
        """Waits with the next attempt: until its rest is over, and for messages that may still join `pending`."""
        turn = resting.turn
        self._previews.void(turn.ref, moment)
        until = max(resting.until, moment.monotonic + (pending.hold_until_ms - moment.wall_ms) / 1000)
        assignment.turns[turn.ref.turn_id] = replace(resting, until=until)
        self._set_timer(until, turn.ref)

    # Timers

    def _set_timer(self, when: float, ref: TurnRef) -> None:
        heapq.heappush(self._timers, (when, next(self._numbers), ref))

    def _ring(self, ref: TurnRef, moment: Moment) -> None:
        """A timer of a turn: the end of its rest, or of its time, which stands still while the engine is away."""
        found = self._find(ref)
        if found is None:
            return
        assignment, phase = found
        if isinstance(phase, Resting):
            if moment.monotonic < phase.until:
                return
            if self._may_run(assignment, phase.turn):
                pending = assignment.mailbox(phase.turn.conversation).running or phase.turn.pending
                self._begin_again(assignment, phase, pending, moment)
            else:
                self._set_timer(moment.monotonic + _SUSPECT_CHECK_S, ref)
        elif self.engine_away:
            self._set_timer(moment.monotonic + self._limits.max_turn_ms / 1000, ref)
        elif moment.monotonic >= phase.turn.deadline:
            self._stop(phase)
            message = f"the turn took longer than admission.max_turn_ms ({self._limits.max_turn_ms} ms)"
            self._count_attempt(assignment, phase.turn, DeadLetterReason.TURN_TIMEOUT, message, moment)

    def _may_run(self, assignment: Assignment, turn: Turn) -> bool:
        """Whether a turn that rested may go on: while there is a suspect to be found, one at a time."""
        if not self._caution.is_on:
            return True
        phases = (phase for each in self._assignments.values() for phase in each.turns.values())
        alone = all(isinstance(phase, Resting) for phase in phases)
        return alone and self._caution.allows(assignment, turn.conversation, turn.first.offset)

    def _find(self, ref: TurnRef) -> tuple[Assignment, TurnPhase] | None:
        """The live assignment and phase of a running attempt; None for anything late."""
        assignment = self._assignments.get(ref.partition)
        if assignment is None or assignment.term != ref.term:
            return None
        phase = assignment.running(ref)
        return None if phase is None else (assignment, phase)
