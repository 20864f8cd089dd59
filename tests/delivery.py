"""The whole check of what a run left in its topics: every promise of delivery, over one history. Pure.

What runs against a real broker hands in what it read; the tests of the check hand in histories made by hand.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome
from tests import checker
from tests.checker import Value
from tests.replay import Place, Replay

_LONGEST = 500
"""Characters of a violation."""


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
        """Raises AssertionError with all violations found; otherwise what the run came to."""
        unsent = {_name(metric) for metric in self.metrics} - set(self._sent)
        assert not unsent, f"settled though nobody sent it: {sorted(unsent)}"
        figures: dict[str, Any] = {}
        violations = []
        for look in (self._settled, self._answered, self._in_order, self._ledgers, self._dead_letters):
            violations += _said_by(look)
        violations += _said_by(lambda: self._replayed(replay))
        violations += _said_by(lambda: figures.update(self._previews()))
        # Last, as where something goes wrong much else is not done.
        violations += _said_by(lambda: checker.nothing_is_lost(self._sent, self._by_place))
        assert not violations, "; ".join(violations)
        return {
            "events": len(self.events),
            "outcomes": dict(Counter(metric["outcome"] for metric in self.metrics)),
            "dead_letters": dict(Counter(metric["reason"] for metric in self.metrics if metric["reason"])),
            "replies": len(self.replies),
            **figures,
            "highest_term": max(ledger.term for ledger in checker.ledgers(self.changelog)),
        }

    @property
    def _sent(self) -> list[str]:
        return [f"{partition}/{offset}" for partition, offset in self.events]

    @property
    def _by_place(self) -> list[Value]:
        return [{**metric, "event_id": _name(metric)} for metric in self.metrics]

    @property
    def _answers(self) -> list[Value]:
        return [reply for reply in self.replies if reply["finish_reason"] != FinishReason.FALLBACK]

    def _settled(self) -> None:
        checker.nothing_is_settled_twice(self._by_place)

    def _answered(self) -> None:
        fallbacks = [reply for reply in self.replies if reply["finish_reason"] == FinishReason.FALLBACK]
        checker.no_event_is_answered_twice(self._answers)
        # An event with a dead letter may be sent again, and is answered then.
        checker.no_event_is_answered_twice(fallbacks)

    def _in_order(self) -> None:
        first = {metric["turn_id"]: _name(metric) for metric in self.metrics if metric["outcome"] == Outcome.REPLIED}
        unknown = [reply["reply_id"] for reply in self._answers if reply["turn_id"] not in first]
        assert not unknown, f"replies of turns that nobody settled: {unknown}"
        by_place = [{**reply, "in_reply_to": [first[reply["turn_id"]]]} for reply in self._answers]
        checker.replies_are_in_order(self._sent, by_place)

    def _ledgers(self) -> None:
        checker.ledgers_never_go_back(self.changelog)

    def _replayed(self, replay: Replay) -> None:
        checker.each_reply_has_its_command(self._answers if replay.bot.fallback.rule.emit else [], self.commands)
        by_id = {event["message_id"]: event for event in self.events.values()}
        replay.check(by_id, self.metrics, self.replies, checker.last_states(self.changelog))

    def _previews(self) -> dict[str, int]:
        return {"previews_complete": checker.previews_add_up_where_complete(self._answers, self.deltas)}

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


def _said_by(look: Callable[[], None]) -> list[str]:
    """The violation that it found, if any; not all of a long list."""
    try:
        look()
    except AssertionError as violation:
        return [str(violation)[:_LONGEST]]
    return []


def _name(metric: Value) -> str:
    return f"{metric['partition']}/{metric['offset']}"
