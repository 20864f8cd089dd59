"""The tree of errors, named for the cure. Each has one cure.

    StreamWorkerError
    ├── Misconfigured        a person must change something; the process ends with exit code 2
    ├── Missing              a broker, model or file is not there; exit code 3
    ├── BadEvent             a dead letter: trying again would not help
    ├── ClientsBroken        drop every assignment, make new clients, join again
    ├── LocalStateUnusable   wipe the local copy, drop every assignment, restore from the changelog
    ├── PartitionRefused     this partition is not taken until a person has looked
    ├── UnsafeChange         a change of the cluster that would lose something: nothing is changed; a person prepares it
    ├── StateUnreadable      the partition is refused; a conversation's state cannot be decoded
    └── Fatal                end the process; the group takes over

A message says what happened, where, and what to do; never the text of a chat message.
Every message carries a stable code, `SW-K012`; docs/reference/errors.md lists them.
"""

import traceback
from enum import Enum
from pathlib import Path

from stream_worker.outcome import DeadLetterReason


class Code(Enum):
    """Stable error codes: the letter names the room, the text is the heading of its page."""

    CONFIG_UNREADABLE = ("SW-C001", "The configuration file cannot be read")
    CONFIG_UNKNOWN_KEY = ("SW-C002", "Unknown key in the configuration")
    CONFIG_INVALID_VALUE = ("SW-C003", "Invalid value in the configuration")
    CONFIG_UNKNOWN_VARIABLE = ("SW-C004", "Unknown STREAM_WORKER__ variable")
    CONFIG_UNSET_VARIABLE = ("SW-C005", "The configuration refers to a variable or file that is not there")
    CONFIG_RESERVED_CLIENT_SETTING = ("SW-C006", "A Kafka client setting that delivery relies on was overridden")
    EXTRA_MISSING = ("SW-C007", "A setting needs a package that is not installed")
    BOT_INVALID = ("SW-B001", "The bot file is invalid")
    BOT_UNREADABLE = ("SW-B002", "The bot file cannot be read")
    BOT_TEMPLATE_FAILED = ("SW-B003", "A template of the bot file cannot be rendered")
    MODEL_NOT_FOUND = ("SW-M001", "The model is not on this machine")
    MODEL_UNSUITABLE = ("SW-M002", "The model cannot be used as a chat model here")
    HEADS_NOT_FOUND = ("SW-M003", "The trained understanding is not on this machine")
    HEADS_UNSUITABLE = ("SW-M004", "The trained understanding does not fit the encoder or the bot")
    EXAMPLES_INVALID = ("SW-M005", "The training examples are invalid")
    PROMPT_TOO_LONG = ("SW-M006", "A prompt can never fit the model")
    ENGINE_REQUEST_FAILED = ("SW-M007", "The engine could not run a request")
    DEVICE_STALLED = ("SW-M009", "The device thread shows no sign of life")
    IO_STALLED = ("SW-M011", "The I/O thread failed or shows no sign of life")
    DEVICE_NOT_FOUND = ("SW-M010", "The device is not on this machine")
    SERVER_UNREACHABLE = ("SW-M012", "No model server answers")
    SERVER_REFUSES = ("SW-M013", "The model server refuses access")
    BROKER_UNREACHABLE = ("SW-K001", "No broker answers")
    TOPIC_MISSING = ("SW-K002", "A topic is missing")
    TOPIC_MISMATCH = ("SW-K003", "A topic is not as the worker needs it")
    NOT_AUTHORIZED = ("SW-K004", "The broker refuses access")
    FENCED = ("SW-K005", "Another process uses the same transactional id")
    CLIENTS_BROKEN = ("SW-K006", "A Kafka client failed and must be replaced")
    TOO_MANY_ABORTS = ("SW-K007", "Too many transactions in a row were aborted")
    RECORD_REFUSED = ("SW-K009", "The broker refused a record")
    OFFSET_UNSTABLE = ("SW-K019", "A transaction is pending on the group's offset for too long")
    RECORD_TOO_LARGE = ("SW-K018", "A record is larger than its topic takes")
    ADOPT_GROUP = ("SW-K010", "The group has offsets but the changelog has no ledger")
    LEDGER_FOREIGN = ("SW-K011", "The ledger belongs to another topic or partition count")
    LEDGER_BEYOND_END = ("SW-K012", "The ledger lies beyond the end of the topic")
    OFFSET_BELOW_START = ("SW-K013", "The group offset lies below the start of the topic")
    CLIENTS_REPLACED_TOO_OFTEN = ("SW-K014", "Kafka clients had to be replaced too often")
    BROKER_START_FAILED = ("SW-K015", "The embedded broker did not start")
    NO_ANSWER = ("SW-K017", "Nothing came of an event in time")
    WORKER_START_FAILED = ("SW-K016", "The demo's worker did not start")
    GROUP_FOREIGN = ("SW-K020", "The group is used by another application")
    LEDGER_UNREADABLE = ("SW-K021", "The ledger cannot be decoded")
    GROUP_BUSY = ("SW-K022", "The group has members, and must have none")
    INPUT_UNSETTLED = ("SW-K023", "Events wait that must be settled first")
    MOVE_UNFINISHED = ("SW-K024", "The state is being moved to another partition count")
    STATE_MISPLACED = ("SW-K025", "State lies in a partition where it does not belong")
    STATE_NEWER = ("SW-S001", "State was written by a newer version")
    STATE_CORRUPT = ("SW-S002", "State cannot be decoded")
    STORE_FAILED = ("SW-S003", "The local state store failed")
    WORKER_FAILED = ("SW-W001", "The worker ended by an error that nothing was prepared for")
    STORE_UNUSABLE = ("SW-S004", "The local copy of the state is damaged, or its disk is full")

    @property
    def id(self) -> str:
        return self.value[0]

    @property
    def title(self) -> str:
        return self.value[1]


class StreamWorkerError(Exception):
    """Every error of ours: a code and a sentence that says what to do."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(f"{code.id} {message}")
        self.code = code
        self.detail = message


class Misconfigured(StreamWorkerError):
    """A setting, bot file or topic must be changed by a person."""


class Missing(StreamWorkerError):
    """Something the command needs is not there: a broker, a model, a file."""


class BadEvent(StreamWorkerError):
    """This event cannot be answered; trying again would not help."""

    def __init__(self, code: Code, message: str, reason: DeadLetterReason) -> None:
        super().__init__(code, message)
        self.reason = reason


class ClientsBroken(StreamWorkerError):
    """A client is beyond repair: drop all assignments and make new clients."""


class LocalStateUnusable(StreamWorkerError):
    """The local copy cannot be read or written; the changelog has everything: wipe, and take the partitions anew."""


class PartitionRefused(StreamWorkerError):
    """A partition whose offsets, ledger or state cannot be trusted; the message names the cure."""

    def __init__(self, code: Code, message: str, *, partition: int) -> None:
        super().__init__(code, message)
        self.partition = partition


class UnsafeChange(StreamWorkerError):
    """A command was to change something that must not change as things stand; the message says what to do first."""


class StateUnreadable(StreamWorkerError):
    """A conversation's state cannot be decoded: its partition is refused, the others go on."""


class Fatal(StreamWorkerError):
    """The process must end; the group takes over."""


def raised(error: BaseException) -> str:
    """`KeyError at stream_worker/inference/reading.py:41`: what was raised, and the last place of ours that it passed.

    Without its message: that of an error which is not ours may quote what somebody wrote.
    """
    places = frames(error)
    ours = [place for place in places if place.startswith("stream_worker/")] or places
    return f"{type(error).__name__} at {ours[-1]}" if ours else type(error).__name__


def frames(error: BaseException) -> list[str]:
    """The places that an error passed, `file:line`, the first one outermost; of those that led to it, too."""
    before = error.__cause__ or error.__context__
    places = [f"{_place(frame.filename)}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    return [*(frames(before) if before is not None else ()), *places]


def _place(filename: str) -> str:
    parts = Path(filename).parts
    for root in ("stream_worker", "site-packages"):
        if root in parts:
            at = len(parts) - 1 - parts[::-1].index(root)
            return "/".join(parts[at + (root == "site-packages") :])
    return Path(filename).name
