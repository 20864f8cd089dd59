"""Everything the console has seen, within bounds. Pure; the event loop owns it.

`take` puts a record where it belongs and notes what it changed. What is too
old to keep goes, the conversation that was quiet longest first: memory has a
limit that no traffic moves.
"""

from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import TypeAdapter

from stream_worker.console.conversation import Conversation
from stream_worker.console.letters import Letters
from stream_worker.console.pace import Pace
from stream_worker.contracts.action import Command
from stream_worker.contracts.analysis import Analysis
from stream_worker.contracts.decode import DecodeRules, Undecodable, decode
from stream_worker.contracts.delta import Delta
from stream_worker.contracts.internal import LEDGER_PREFIX, STATE_PREFIX, LedgerRecord, load_ledger
from stream_worker.contracts.metric import EventMetric
from stream_worker.contracts.reply import Reply
from stream_worker.conversation.state import EMPTY, load_state
from stream_worker.errors import StreamWorkerError
from stream_worker.kafka.topics import Role
from stream_worker.record import Record
from stream_worker.trace_context import read_traceparent

MAX_CONVERSATIONS = 10_000
MAX_BYTES = 256 << 20
_TIMES_KEPT = 5_000

_REPLY = TypeAdapter(Reply)
_DELTA = TypeAdapter(Delta)
_ANALYSIS = TypeAdapter(Analysis)
_METRIC = TypeAdapter(EventMetric)
_COMMAND = TypeAdapter(Command)

LIST = "conversations"
LETTERS = "letters"


def of_conversation(key: str) -> str:
    """The name of a change in one conversation."""
    return f"conversation:{key}"


@dataclass(slots=True)
class Board:
    tenants: bool = False
    conversations: OrderedDict[str, Conversation] = field(default_factory=OrderedDict)
    """By key, the one that was quiet longest first."""
    letters: Letters = field(default_factory=Letters)
    pace: Pace = field(default_factory=Pace)
    ledgers: dict[int, LedgerRecord] = field(default_factory=dict)
    since: int | None = None
    """When the oldest record that was taken was written."""
    records: int = 0
    unreadable: int = 0
    dropped: int = 0
    _times: dict[int, deque[tuple[int, int]]] = field(default_factory=dict)
    _changed: set[str] = field(default_factory=set)
    _bytes: dict[str, int] = field(default_factory=dict)
    _total_bytes: int = 0

    def take(self, role: Role, record: Record) -> Delta | None:
        """Notes a record; returns it where it is a preview, which is worth showing at once."""
        self.records += 1
        if role is not Role.CHANGELOG and record.timestamp_ms > 0:
            self.since = min(self.since or record.timestamp_ms, record.timestamp_ms)
        if record.value is None and role not in (Role.DEAD_LETTERS, Role.EVENTS):
            return None
        try:
            return self._readers()[role](record)
        except (ValueError, StreamWorkerError):
            # Another version's record, or nobody's; the topics are the truth, and this is a view.
            self.unreadable += 1
            return None

    def changed(self) -> frozenset[str]:
        """The names of what changed since the last call."""
        found, self._changed = frozenset(self._changed), set()
        return found

    def written_at(self, partition: int, offset: int) -> int | None:
        """When the first event at or after an offset was written; None where the window does not reach back."""
        times = self._times.get(partition)
        if not times or times[0][0] > offset:
            return None
        at = bisect_left(times, (offset, 0))
        return times[at][1] if at < len(times) else None

    def _readers(self) -> Mapping[Role, Callable[[Record], Delta | None]]:
        return {
            Role.EVENTS: self._event,
            Role.REPLIES: self._reply,
            Role.DELTAS: self._delta,
            Role.ANALYSIS: self._analysis,
            Role.ACTIONS: self._command,
            Role.METRICS: self._metric,
            Role.DEAD_LETTERS: self._letter,
            Role.CHANGELOG: self._changelog,
        }

    def _event(self, record: Record) -> None:
        self._times.setdefault(record.partition, deque(maxlen=_TIMES_KEPT)).append((record.offset, record.timestamp_ms))
        arrival = decode(record, DecodeRules(tenants=self.tenants, max_text_chars=1 << 30, wrong_key_allowed=True))
        if not isinstance(arrival, Undecodable):
            self._put(record, lambda of: of.take_event(arrival))

    def _reply(self, record: Record) -> None:
        reply = _value(_REPLY, record)
        traceparent = next((value or b"" for name, value in record.headers if name == "traceparent"), b"")
        trace = read_traceparent(traceparent.decode("ascii", "replace"))
        trace_id = trace.trace_id if trace is not None else ""
        self._put(record, lambda of: of.take_reply(reply, trace_id, record.timestamp_ms))

    def _delta(self, record: Record) -> Delta:
        delta: Delta = _value(_DELTA, record)
        self._put(record, lambda of: of.take_delta(delta, record.timestamp_ms))
        return delta

    def _analysis(self, record: Record) -> None:
        analysis = _value(_ANALYSIS, record)
        self._put(record, lambda of: of.take_analysis(analysis))

    def _command(self, record: Record) -> None:
        command = _value(_COMMAND, record)
        self._put(record, lambda of: of.take_command(command))

    def _metric(self, record: Record) -> None:
        metric: EventMetric = _value(_METRIC, record)
        self.pace.take(metric)
        if metric.conversation_id:
            self._put(record, lambda of: of.take_metric(metric))

    def _letter(self, record: Record) -> None:
        self.letters.take(record)
        self._changed.add(LETTERS)

    def _changelog(self, record: Record) -> None:
        key = record.key or b""
        if key.startswith(LEDGER_PREFIX):
            ledger = load_ledger(record.value or b"", record.partition)
            self.ledgers[ledger.partition] = ledger
        elif key.startswith(STATE_PREFIX):
            conversation = self.conversations.get(key.removeprefix(STATE_PREFIX).decode())
            if conversation is not None:
                conversation.take_state(load_state(record.value) if record.value is not None else EMPTY)
                self._changed |= {LIST, of_conversation(conversation.key)}

    def _put(self, record: Record, change: Callable[[Conversation], None]) -> None:
        conversation = self._conversation((record.key or b"").decode())
        if record.timestamp_ms <= conversation.erased_at:
            return
        change(conversation)
        self._settle(conversation)

    def _conversation(self, key: str) -> Conversation:
        found = self.conversations.get(key)
        if found is None:
            found = self.conversations[key] = Conversation(key)
        return found

    def _settle(self, conversation: Conversation) -> None:
        key = conversation.key
        self.conversations.move_to_end(key)
        self._changed |= {LIST, of_conversation(key)}
        size = conversation.bytes
        self._total_bytes += size - self._bytes.get(key, 0)
        self._bytes[key] = size
        while len(self.conversations) > MAX_CONVERSATIONS or self._total_bytes > MAX_BYTES:
            oldest, _ = self.conversations.popitem(last=False)
            self._total_bytes -= self._bytes.pop(oldest, 0)
            self.dropped += 1


def _value(adapter: TypeAdapter[Any], record: Record) -> Any:
    return adapter.validate_python(orjson.loads(record.value or b""))
