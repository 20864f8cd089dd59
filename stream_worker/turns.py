"""One turn's way through the stages: the only place that knows their order.

    start (parse) → understand → decide (dialogue, calls) → generate → check → settle

Runs on the worker thread and never blocks: what needs the device is an order,
and its result comes back through `absorb`. Everything that ends leaves through
the settler, exactly once for each event.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import count
from typing import assert_never

from msgspec.structs import replace

from stream_worker.admission.breaker import Breaker
from stream_worker.answered import Answered
from stream_worker.assignment import Assignment
from stream_worker.bot.bots import Bots
from stream_worker.caller import Caller
from stream_worker.clock import Clock, Moment
from stream_worker.contracts.decode import Arrival
from stream_worker.contracts.event import Erasure
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
    Expire,
    Failed,
    Fault,
    Forget,
    Generate,
    Generated,
    Release,
    Result,
    Token,
    TurnRef,
)
from stream_worker.outcome import DeadLetterReason, FinishReason
from stream_worker.previews import Previews
from stream_worker.running_turns import RunningTurns
from stream_worker.settings import Settings
from stream_worker.settler import Settler
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
from stream_worker.stages.prompter import Prompter
from stream_worker.suspicion import Caution
from stream_worker.tokens import StoredPrompt
from stream_worker.turn import Calling, Decided, Generating, Resting, Turn, Understanding, begin, entities_of, seed_of
from stream_worker.turn import Phase as TurnPhase
from stream_worker.unanswered import Unanswered

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
        self._running = RunningTurns(assignments, settings.admission.max_running_turns)
        age_ms, commit_s = settings.admission.max_event_age_ms, settings.kafka.commit_interval_ms / 1000
        self._unanswered = Unanswered(age_ms, commit_s, bots=bots, settler=settler, clock=clock)
        self._breaker = Breaker(settings.admission.retry_backoff_ms / 1000)
        self._numbers = count(1)
        self._kv_released_s = settings.engine.kv_released_s
        self._released: deque[tuple[float, int]] = deque()
        """Partitions that were let go, and until when what the engine keeps of them may stay."""

    @property
    def running(self) -> RunningTurns:
        return self._running

    @property
    def engine_away(self) -> bool:
        """Whether turns wait for an engine that failed."""
        return self._breaker.is_open and self._running.any_resting

    def tick(self, moment: Moment) -> None:
        """What is due by now: retries, time limits, previews, and the end of what is kept of others' partitions."""
        self._expire(moment)
        for ref in self._running.due(moment.monotonic):
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
            found = self._running.find(result.ref)
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
        assignment.suspicion.clear(phase.turn.pending.offsets)

    def take_back(self, assignment: Assignment, pending: PendingTurn, moment: Moment) -> None:
        """Ends a running turn that is to start again, of another state."""
        identity = pending.first.identity
        assignment.attempts[identity] = assignment.turns[identity].turn.ref.attempt
        self.cancel(assignment, pending, moment)

    def drop(self, assignment: Assignment, moment: Moment) -> None:
        """The partition is gone: its turns are cancelled, and nothing of them settles."""
        for phase in list(assignment.turns.values()):
            self.cancel(assignment, phase.turn.pending, moment)
        self._engine.submit(Release(partition=assignment.partition))
        self._released.append((moment.monotonic + self._kv_released_s, assignment.partition))

    def _expire(self, moment: Moment) -> None:
        while self._released and self._released[0][0] <= moment.monotonic:
            self._engine.submit(Expire(partition=self._released.popleft()[1]))

    def refuse(self, error: PartitionRefused, moment: Moment) -> None:
        """A state that cannot be read: its partition stands still until a person has looked; the others go on.

        Whoever meets the error goes on with the next record or result: those may be of other partitions.
        """
        assignment = self._assignments.get(error.partition)
        if assignment is None:
            raise error
        self._observer.refused(error)
        self.drop(assignment, moment)
        self._settler.drop(assignment.partition)
        assignment.refuse()

    def was_settled(self, assignment: Assignment, arrival: Arrival) -> bool:
        """Whether an event with this id settled before; a redrive passes."""
        if arrival.headers.redrive:
            return False
        return remembers(assignment.states.get(arrival.conversation).remembered, digest(arrival.identity))

    def withdraw(self, assignment: Assignment, pending: PendingTurn, moment: Moment, *, heard: bool) -> None:
        """Ends a turn that nobody answers any more; `heard` keeps what was said in the history."""
        self._unanswered.withdraw(assignment, pending, moment, heard=heard)

    def note(self, assignment: Assignment, arrival: Arrival, moment: Moment) -> None:
        """An event that nobody answers."""
        if isinstance(arrival.event, Erasure):
            self._engine.submit(Forget(conversation=arrival.conversation))
        self._unanswered.note(assignment, arrival, moment)

    def is_over(self, pending: PendingTurn, moment: Moment, *, foreseen: bool) -> bool:
        """Whether all of it was taken back, or would be answered when nobody waits for it any more.

        One that is not `foreseen` begins after the next commit.
        """
        return pending.is_withdrawn or self._unanswered.ends_too_late(pending, moment, 1 if foreseen else 2)

    def pass_over(self, assignment: Assignment, pending: PendingTurn, moment: Moment) -> None:
        """Settles a turn that is over."""
        self._unanswered.pass_over(assignment, pending, moment)
        assignment.mailbox(pending.first.conversation).finish()

    def start(
        self,
        assignment: Assignment,
        pending: PendingTurn,
        moment: Moment,
        *,
        attempt: int | None = None,
        failures: int = 0,
        successes_seen: int | None = None,
        deadline: float | None = None,
    ) -> None:
        """Parses the messages and sends them to be understood; or ends the turn where nothing is to be answered."""
        first = pending.first
        # One that was taken back had attempts before; what still comes of those must not be taken for this one's.
        attempt = attempt or assignment.attempts.pop(first.identity, 0) + 1
        bot = self._unanswered.bot_for(assignment, pending, moment)
        if bot is None:
            assignment.mailbox(first.conversation).finish()
            return
        turn = begin(
            TurnRef(assignment.partition, assignment.term, first.identity, attempt, next(self._numbers)),
            pending,
            bot,
            self._clock,
            moment.wall_ms,
            deadline=deadline or moment.monotonic + self._limits.max_turn_ms / 1000,
            answer_by=moment.monotonic + self._unanswered.seconds_left(pending, moment),
            failures=failures,
            successes_seen=successes_seen,
        )
        self._running.begin(turn)
        if bot.understanding is None or pending.trigger is not None:
            self._decide(assignment, turn, None, moment)
            return
        self._enter(assignment, Understanding(turn), turn.deadline)
        order = Encode(ref=turn.ref, text=turn.text, heads=bot.understanding, language=turn.parsed.language)
        self._engine.submit(order)

    def _enter(self, assignment: Assignment, phase: TurnPhase, until: float) -> None:
        """The turn's next phase, looked at again at `until`, and when nobody waits for the answer any more."""
        turn = phase.turn
        assignment.turns[turn.ref.turn_id] = phase
        self._running.set_timer(until, turn.ref)
        if turn.answer_by < math.inf:
            self._running.set_timer(turn.answer_by, turn.ref)

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
        started = self._clock.monotonic()
        state = assignment.states.get(turn.conversation)
        heard = Heard(
            text=turn.text,
            language=turn.parsed.language,
            understanding=understanding,
            entities=entities_of(turn),
            sender_id=turn.pending.sender_id or next(reversed(state.dialogues), ""),
            now_ms=moment.wall_ms,
            trigger=turn.pending.trigger,
        )
        try:
            planned = plan(turn.bot, state, heard)
            if planned.calls:
                self._call(assignment, turn, understanding, planned, started)
                return
            decision = conclude(planned, {})
        except BadEvent as error:
            self._give_up(assignment, turn, error.reason, error.detail, moment)
            return
        decided = Decided(turn, understanding, decision, deciding=self._clock.monotonic() - started, calling=0.0)
        self._answer(assignment, decided, moment)

    def _call(
        self, assignment: Assignment, turn: Turn, understanding: Encoded | None, planned: Plan, started: float
    ) -> None:
        """Makes the turn's calls, all at once; the decision, which was `started` then, waits for them."""
        since = self._clock.monotonic()
        calling = Calling(turn, understanding, planned, {}, since=since, deciding=since - started)
        self._enter(assignment, calling, turn.deadline)
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
        turn, drafts, answered = phase.turn, phase.plan.calls, self._clock.monotonic()
        call = drafts[result.number - 1].call
        found = taken(call, result) if isinstance(result, Called) else result
        self._observer.called(turn, call.name, found.seconds, None if isinstance(found, Called) else found.message)
        try:
            if isinstance(found, CallFailed):
                self._caller.cancel(turn.ref, len(drafts))
                decision = conclude_without(phase.plan, turn.bot, call)
            else:
                results = {**phase.results, found.number: found.result}
                if len(results) < len(drafts):
                    assignment.turns[turn.ref.turn_id] = replace(phase, results=results)
                    return
                named = {draft.call.name: results[number] for number, draft in enumerate(drafts, start=1)}
                decision = conclude(phase.plan, named)
        except BadEvent as error:
            self._give_up(assignment, turn, error.reason, error.detail, moment)
            return
        deciding = phase.deciding + self._clock.monotonic() - answered
        decided = Decided(turn, phase.understanding, decision, deciding=deciding, calling=answered - phase.since)
        self._answer(assignment, decided, moment)

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
        self._enter(assignment, Generating(decided, prompt, seed), turn.deadline)
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
            self._unanswered.be_silent(assignment, turn.pending, turn.bot, moment)
        else:
            self._previews.done(turn.ref, answered.text, moment)
            self._end_turn(assignment, turn, moment)
            self._unanswered.took(moment.monotonic - turn.started)
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
        if self._running.end(assignment, turn):
            self._previews.void(turn.ref, moment)

    def _begin_again(self, assignment: Assignment, phase: TurnPhase, pending: PendingTurn, moment: Moment) -> None:
        turn = phase.turn
        deadline = None
        if not isinstance(phase, Resting):
            deadline = turn.deadline
            self._stop(phase)
            phase = Resting(turn, moment.monotonic, turn.failures, turn.successes_seen)
            waits = pending.held_ms(moment.wall_ms) > 0 or not assignment.suspicion.may_begin(pending.offsets)
            if waits and not pending.is_withdrawn:
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
            assignment.suspicion.clear(turn.pending.offsets)
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
        until = max(resting.until, moment.monotonic + pending.held_ms(moment.wall_ms) / 1000)
        self._enter(assignment, replace(resting, until=until), until)

    def _ring(self, ref: TurnRef, moment: Moment) -> None:
        """A timer of a turn: the end of its rest, of its events' age, or of its time, which stands still while the
        engine is away."""
        found = self._running.find(ref)
        if found is None:
            return
        assignment, phase = found
        pending = assignment.mailbox(phase.turn.conversation).running or phase.turn.pending
        if self._unanswered.seconds_left(pending, moment) <= 0:
            self.cancel(assignment, pending, moment)
            self._unanswered.expire(assignment, pending, moment)
            self._finish(assignment, phase.turn)
        elif isinstance(phase, Resting):
            if moment.monotonic < phase.until:
                return
            if self._may_run(assignment, pending):
                self._begin_again(assignment, phase, pending, moment)
            else:
                self._running.set_timer(moment.monotonic + _SUSPECT_CHECK_S, ref)
        elif self.engine_away:
            self._running.set_timer(moment.monotonic + self._limits.max_turn_ms / 1000, ref)
        elif moment.monotonic >= phase.turn.deadline:
            self._stop(phase)
            message = f"the turn took longer than admission.max_turn_ms ({self._limits.max_turn_ms} ms)"
            self._count_attempt(assignment, phase.turn, DeadLetterReason.TURN_TIMEOUT, message, moment)

    def _may_run(self, assignment: Assignment, pending: PendingTurn) -> bool:
        """Whether a turn that rested may go on: while there is a suspect to be found, one at a time."""
        if self._caution.is_on and not (
            self._running.all_resting and self._caution.allows(assignment, pending.first.conversation, pending.offsets)
        ):
            return False
        return assignment.suspicion.may_begin(pending.offsets)
