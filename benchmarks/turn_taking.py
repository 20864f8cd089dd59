"""What merging and interrupting save on real chat rooms: every message of the Gitter logs as if a bot answered it.

Each user of a room is taken for a conversation of one; a burst ends when that user is silent for 30 s. The mailbox that
the worker uses decides what starts when; a generation takes `--seconds`. Prints JSON: for `queue`, `merge` and
`interrupt`, and for `merge` with a window, how many generations were started and ended, how many replies were made
before the user had finished, and how long the user waited after the last message of a burst.
"""

import argparse
import heapq
import json
import lzma
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream_worker.contracts.decode import Arrival, DecodeRules, decode
from stream_worker.conversation.mailbox import Mailbox, Queued, Restart
from stream_worker.conversation.pending import PendingTurn
from stream_worker.record import Record
from stream_worker.turn_taking import OnNewMessage, TurnTaking

_BURST_ENDS_MS = 30_000
_MAX_WAITING = 32


@dataclass(slots=True)
class Counts:
    """Times in milliseconds."""

    messages: int = 0
    bursts: int = 0
    started: int = 0
    replies: int = 0
    too_early: int = 0
    waits: list[int] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        return {
            "messages": self.messages,
            "bursts": self.bursts,
            "generations_started": self.started,
            "replies": self.replies,
            "generations_saved": round(1 - self.started / self.messages, 4),
            "replies_saved": round(1 - self.replies / self.messages, 4),
            "replies_before_the_user_had_finished": round(self.too_early / self.replies, 4),
            "seconds_to_reply_after_the_last_message": {
                "median": round(statistics.median(self.waits) / 1000, 2),
                "p95": round(sorted(self.waits)[int(len(self.waits) * 0.95)] / 1000, 2),
            },
        }


class Sitting:
    """One user's messages through one mailbox, in the time of the log."""

    def __init__(self, taking: TurnTaking, generate_ms: int, counts: Counts) -> None:
        self._taking = taking
        self._generate_ms = generate_ms
        self._counts = counts
        self._mailbox = Mailbox(_MAX_WAITING)
        self._ends: int | None = None
        self._replied: list[tuple[int, int]] = []
        """When a reply was made, and the timestamp of the last message that it answers."""

    def hear(self, arrivals: list[Arrival]) -> None:
        """All of a burst, then everything to its end."""
        for arrival in arrivals:
            now = arrival.record.timestamp_ms
            self._until(now)
            match self._mailbox.put(arrival, self._taking, now):
                case Restart(turn=turn):
                    self._begin(max(now, turn.hold_until_ms))
                case Queued():
                    self._next(now)
        self._until(2**60)
        last = arrivals[-1].record.timestamp_ms
        self._counts.messages += len(arrivals)
        self._counts.bursts += 1
        self._counts.replies += len(self._replied)
        self._counts.too_early += sum(answers < last for _, answers in self._replied)
        self._counts.waits.append(self._replied[-1][0] - last)
        self._replied = []

    def _until(self, now: int) -> None:
        while True:
            head = self._mailbox.head
            if self._ends is not None and self._ends <= now:
                turn, ended = self._mailbox.running, self._ends
                assert turn is not None
                self._replied.append((ended, turn.arrivals[-1].record.timestamp_ms))
                self._mailbox.finish()
                self._ends = None
                self._next(ended)
            elif self._ends is None and isinstance(head, PendingTurn) and head.hold_until_ms <= now:
                self._next(max(head.hold_until_ms, head.first.record.timestamp_ms))
            else:
                return

    def _next(self, now: int) -> None:
        head = self._mailbox.head
        if isinstance(head, PendingTurn) and head.hold_until_ms <= now:
            self._mailbox.next()
            self._begin(now)

    def _begin(self, at: int) -> None:
        self._counts.started += 1
        self._ends = at + self._generate_ms


def bursts(folder: Path, most: int) -> Iterator[list[Arrival]]:
    """Bursts of one user each, of all rooms, until so many messages were seen."""
    seen = 0
    for file in sorted((folder / "chatlogs").glob("gitter_*.jsonl.xz")):
        open_bursts: dict[str, list[Arrival]] = {}
        ends: list[tuple[int, str]] = []
        with lzma.open(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                message = json.loads(line)
                if not message.get("text"):
                    continue
                arrival = _arrival(message, number)
                while ends and ends[0][0] <= message["ts_ms"]:
                    _, key = heapq.heappop(ends)
                    done = open_bursts.get(key)
                    if done and done[-1].record.timestamp_ms + _BURST_ENDS_MS <= message["ts_ms"]:
                        yield open_bursts.pop(key)
                key = f"{message['room']}/{message['user']}"
                open_bursts.setdefault(key, []).append(arrival)
                heapq.heappush(ends, (message["ts_ms"] + _BURST_ENDS_MS, key))
                seen += 1
                if seen >= most:
                    yield from open_bursts.values()
                    return
        yield from open_bursts.values()


def _arrival(message: dict[str, Any], number: int) -> Arrival:
    key = f"{message['room']}/{message['user']}"
    value = json.dumps(
        {
            "conversation_id": key,
            "message_id": f"{message['message_id']}-{number}",
            "sender": {"id": message["user"]},
            "text": message["text"][:2_000],
        }
    )
    found = decode(Record("log", 0, number, message["ts_ms"], key.encode(), value.encode(), ()), DecodeRules())
    assert isinstance(found, Arrival), found.detail
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, default=Path("../shared/data"))
    options.add_argument("--messages", type=int, default=100_000)
    options.add_argument("--seconds", type=float, default=3.0, help="How long a generation takes.")
    given = options.parse_args()
    ways = {
        "queue": TurnTaking(),
        "merge": TurnTaking(on_new_message=OnNewMessage.MERGE),
        "merge, window 2 s": TurnTaking(on_new_message=OnNewMessage.MERGE, merge_window_ms=2_000),
        "merge, window 5 s": TurnTaking(on_new_message=OnNewMessage.MERGE, merge_window_ms=5_000, max_hold_ms=20_000),
        "interrupt": TurnTaking(on_new_message=OnNewMessage.INTERRUPT),
        "interrupt, window 2 s": TurnTaking(on_new_message=OnNewMessage.INTERRUPT, merge_window_ms=2_000),
    }
    counts = {name: Counts() for name in ways}
    for burst in bursts(given.data, given.messages):
        for name, taking in ways.items():
            Sitting(taking, int(given.seconds * 1000), counts[name]).hear(burst)
    result = {name: each.report() for name, each in counts.items()}
    print(json.dumps({"seconds_a_generation": given.seconds, **result}, indent=2))


if __name__ == "__main__":
    main()
