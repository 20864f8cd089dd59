"""Several workers, killed, stopped, cut off and replaced at any moment: nothing lost, twice, or out of order.

A rule machine over whole workers on the in-memory edge. At the end of each
run everything is let settle, and what came out is held against what went in.
"""

from collections import defaultdict
from typing import Any

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from stream_worker.orders import Generate
from stream_worker.record import Record
from tests import checker
from tests.unit.worker.rig import Rig, settings

_CONVERSATIONS = st.sampled_from(["c-1", "c-2", "c-3", "c-4", "c-5"])
_SECONDS = st.sampled_from([0.0, 0.03, 0.2, 1.0])


def _uneven(order: Generate) -> float:
    """Between 1 ms and 0.4 s a token, by the turn."""
    return 0.001 * float(2 ** (int(order.ref.turn_id[:2], 16) % 9))


class WorkersMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(
            settings(
                admission={"max_running_turns": 4, "max_waiting_events": 1_000, "retry_backoff_ms": 20},
                drain_timeout_s=0.2,
                kafka={"release_ms": 100},
            ),
            seconds=_uneven,
        )
        self.sent: dict[str, Record] = {}
        self.conversation_of: dict[str, str] = {}
        self.copies: dict[str, int] = defaultdict(int)
        self.handed: dict[str, list[tuple[int, bool]]] = defaultdict(list)
        self.names = 0
        self.start()

    def _send(self, conversation: str, **fields: Any) -> None:
        event_id = f"e-{len(self.sent)}"
        self.sent[event_id] = self.rig.send(conversation, message_id=event_id, **fields)
        self.conversation_of[event_id] = conversation
        self.copies[event_id] += 1

    @rule(conversation=_CONVERSATIONS, count=st.integers(1, 4))
    def say(self, conversation: str, count: int) -> None:
        for _ in range(count):
            self._send(conversation, text=f"text {len(self.sent)}")

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), kind=st.sampled_from(["edit", "deletion", "reaction"]))
    def change_something_said(self, data: st.DataObject, kind: str) -> None:
        target = data.draw(st.sampled_from(sorted(self.sent)))
        more = {"edit": {"text": "edited"}, "deletion": {}, "reaction": {"reaction": "+1"}}[kind]
        self._send(self.conversation_of[target], type=kind, target_id=target, **more)

    @rule(conversation=_CONVERSATIONS, taken=st.booleans())
    def hand_over(self, conversation: str, taken: bool) -> None:
        self._send(conversation, type="handoff" if taken else "handback")
        record = next(reversed(self.sent.values()))
        self.handed[conversation].append((record.offset, taken))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        event_id = data.draw(st.sampled_from(sorted(self.sent)))
        record = self.sent[event_id]
        self.rig.broker.append(record.topic, record.key, record.value, record.headers)
        self.copies[event_id] += 1

    @rule(seconds=_SECONDS)
    def run_for(self, seconds: float) -> None:
        self.rig.run(seconds, step=0.02)

    @precondition(lambda self: len(self.rig.workers) < 3)
    @rule()
    def start(self) -> None:
        if not self.rig.broker.down:
            self.names += 1
            self.rig.start(f"w{self.names % 3}" if f"w{self.names % 3}" not in self.rig.workers else f"x{self.names}")

    @precondition(lambda self: self.rig.workers)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        self.rig.kill(data.draw(st.sampled_from(sorted(self.rig.workers))))

    @precondition(lambda self: self.rig.workers and not self.rig.broker.down)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        self.rig.stop(data.draw(st.sampled_from(sorted(self.rig.workers))))

    @precondition(lambda self: self.rig.workers)
    @rule(data=st.data())
    def stand_still(self, data: st.DataObject) -> None:
        """A worker that does not run for longer than its session, while the others do: a zombie when it wakes."""
        name = data.draw(st.sampled_from(sorted(self.rig.workers)))
        zombie = self.rig.workers.pop(name)
        self.rig.run(7.0, step=0.1)
        self.rig.workers[name] = zombie

    @rule()
    def broker_goes_and_comes(self) -> None:
        self.rig.broker.down = True
        self.rig.run(0.1)
        self.rig.broker.down = False

    def teardown(self) -> None:
        self.rig.broker.down = False
        if not self.rig.workers:
            self.start()
        for _ in range(200):
            self.rig.run(1.0, step=0.05)
            if sum(len(outcomes) for outcomes in self.rig.outcomes.values()) >= sum(self.copies.values()):
                break
        self.rig.run(0.5)
        self._every_event_has_one_outcome()
        self._no_reply_twice_and_all_in_order()
        self._nobody_talks_over_a_human()
        self._state_is_what_was_published()
        self._ledgers_never_go_back()

    def _every_event_has_one_outcome(self) -> None:
        outcomes = self.rig.outcomes
        assert {name: len(found) for name, found in outcomes.items()} == dict(self.copies)
        for name, found in outcomes.items():
            assert found.count("replied") <= 1, f"{name} was answered twice"

    def _no_reply_twice_and_all_in_order(self) -> None:
        replies = self.rig.replies
        checker.no_event_is_answered_twice(replies)
        answered = {event_id for reply in replies for event_id in reply["in_reply_to"]}
        settled = {name for name, found in self.rig.outcomes.items() if {"replied", "merged"} & set(found)}
        assert answered == settled
        checker.replies_are_in_order(self.sent, replies)

    def _first_offset(self, reply: dict[str, Any]) -> int:
        return self.sent[reply["in_reply_to"][0]].offset

    def _nobody_talks_over_a_human(self) -> None:
        """A message after a hand-off and before the next hand-back has no reply."""
        for reply in self.rig.replies:
            offset = self._first_offset(reply)
            before = [taken for at, taken in self.handed[reply["conversation_id"]] if at < offset]
            assert not (before and before[-1]), "answered while a human had the conversation"

    def _state_is_what_was_published(self) -> None:
        checker.state_is_what_was_published(self.rig.replies, self._changelog())

    def _ledgers_never_go_back(self) -> None:
        checker.ledgers_never_go_back(self._changelog())

    def _changelog(self) -> list[tuple[bytes, bytes | None]]:
        records = self.rig.broker.read_committed(self.rig.settings.changelog)
        return [(record.key or b"", record.value) for record in records]


TestWorkers = WorkersMachine.TestCase
TestWorkers.settings = hypothesis_settings(
    max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
