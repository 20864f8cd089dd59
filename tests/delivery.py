"""The whole check of what a run left in its topics: every promise of delivery, over one history. Pure.

What runs against a real broker hands in what it read; the tests of the check hand in histories made by hand.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome
from tests import checker
from tests.checker import Value
from tests.replay import Place, Replay


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Events and everything committed, each in the order of its partition. An event is known by its place: its id may
    come twice.

    `changelog` is gone through several times. `poison`: words of events that nobody can answer. `is_whole`: no
    compaction has run over the changelog.
    """

    events: Mapping[Place, Value]
    metrics: Sequence[Value]
    replies: Sequence[Value]
    commands: Sequence[Value]
    deltas: Iterable[Value]
    buried: Sequence[Place]
    changelog: Iterable[tuple[bytes, bytes | None]]
    poison: Collection[str] = ()
    is_whole: bool = True

    def check(self, replay: Replay) -> dict[str, Any]:
        """Raises AssertionError with the first violation found; otherwise what the run came to."""
        answers = [reply for reply in self.replies if reply["finish_reason"] != FinishReason.FALLBACK]
        fallbacks = [reply for reply in self.replies if reply["finish_reason"] == FinishReason.FALLBACK]
        first = {metric["turn_id"]: _name(metric) for metric in self.metrics if metric["outcome"] == Outcome.REPLIED}
        sent = [f"{partition}/{offset}" for partition, offset in self.events]
        unsent = {_name(metric) for metric in self.metrics} - set(sent)
        assert not unsent, f"settled though nobody sent it: {sorted(unsent)}"
        by_place = [{**metric, "event_id": _name(metric)} for metric in self.metrics]
        checker.nothing_is_settled_twice(by_place)
        checker.no_event_is_answered_twice(answers)
        # An event with a dead letter may be sent again, and is answered then.
        checker.no_event_is_answered_twice(fallbacks)
        unknown = [reply["reply_id"] for reply in answers if reply["turn_id"] not in first]
        assert not unknown, f"replies of turns that nobody settled: {unknown}"
        checker.replies_are_in_order(sent, [{**reply, "in_reply_to": [first[reply["turn_id"]]]} for reply in answers])
        checker.ledgers_never_go_back(self.changelog)
        checker.each_reply_has_its_command(answers if replay.bot.fallback.rule.emit else [], self.commands)
        self._dead_letters()
        by_id = {event["message_id"]: event for event in self.events.values()}
        replay.check(by_id, self.metrics, self.replies, checker.last_states(self.changelog))
        complete = checker.previews_add_up_where_complete(answers, self.deltas)
        # Last, as where something goes wrong much else is not done.
        checker.nothing_is_lost(sent, by_place)
        return {
            "events": len(self.events),
            "outcomes": dict(Counter(metric["outcome"] for metric in self.metrics)),
            "dead_letters": dict(Counter(metric["reason"] for metric in self.metrics if metric["reason"])),
            "replies": len(self.replies),
            "previews_complete": complete,
            "highest_term": max(ledger.term for ledger in checker.ledgers(self.changelog)),
        }

    def _dead_letters(self) -> None:
        dead = [metric for metric in self.metrics if metric["outcome"] == Outcome.DEAD_LETTERED]
        letters, expected = Counter(self.buried), Counter((each["partition"], each["offset"]) for each in dead)
        assert letters == expected, f"dead letters and outcomes differ: {letters - expected} {expected - letters}"
        texts = {f"{place[0]}/{place[1]}": event.get("text", "") for place, event in self.events.items()}
        guilty = {name for name, text in texts.items() if any(word in text for word in self.poison)}
        answered = {_name(metric) for metric in self.metrics if metric["outcome"] in (Outcome.REPLIED, Outcome.MERGED)}
        assert not guilty & answered, f"answered, though nobody can: {guilty & answered}"
        if self.is_whole:
            suspected = [each for each in dead if each["reason"] == DeadLetterReason.SUSPECTED_CRASH]
            checker.only_suspects_are_condemned(suspected, self.changelog)


def _name(metric: Value) -> str:
    return f"{metric['partition']}/{metric['offset']}"
