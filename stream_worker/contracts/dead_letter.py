"""`chat.dead-letters`: an event that could not be answered, as it came, with the reason.

The record's key and value are the original bytes; what we know of the failure
stands in headers, so that a redrive sends back exactly what came. Where the
original is too large for the topic, the value is its first part and
`sw_truncated` is `1`; the coordinates lead to the original.

What became of a letter later is a *mark*: a record with the letter's key, no
value, and `sw_marks` with the letter's place in this topic.
"""

from stream_worker.contracts.versions import Versions
from stream_worker.outcome import DeadLetterReason
from stream_worker.record import Headers, Outgoing, Record

#: Headers of ours on a dead letter. Values are UTF-8 text.
REASON = "sw_reason"
MESSAGE = "sw_message"
TOPIC = "sw_topic"
PARTITION = "sw_partition"
OFFSET = "sw_offset"
TIMESTAMP = "sw_timestamp"
TRUNCATED = "sw_truncated"
WORKER = "sw_worker"
SETTINGS = "sw_settings"
BOT = "sw_bot"
BOT_VERSION = "sw_bot_version"
MODEL = "sw_model"

#: Headers of a mark: which letter, as `<partition>/<offset>`, what became of it, by whom, where it was said, and `1`
#: where somebody had edited it before.
MARKS = "sw_marks"
MARK = "sw_mark"
MARKED_BY = "sw_marked_by"
MARKED_EDITED = "sw_marked_edited"
PREFIX = "sw_"


def dead_letter(
    record: Record,
    reason: DeadLetterReason,
    message: str,
    *,
    topic: str,
    versions: Versions,
    max_bytes: int,
) -> Outgoing:
    """The dead letter of `record`; `message` must hold nothing of the event's content."""
    ours: Headers = (
        (REASON, reason.value.encode()),
        (MESSAGE, message.encode(errors="replace")[:2048]),
        (TOPIC, record.topic.encode()),
        (PARTITION, b"%d" % record.partition),
        (OFFSET, b"%d" % record.offset),
        (TIMESTAMP, b"%d" % record.timestamp_ms),
        (WORKER, versions.worker.encode()),
        (SETTINGS, versions.settings.encode()),
        (BOT, versions.bot.encode()),
        (BOT_VERSION, versions.bot_version.encode()),
        (MODEL, versions.model.encode()),
    )
    names = {name for name, _ in ours} | {TRUNCATED, MARKS, MARK, MARKED_BY, MARKED_EDITED}
    kept = tuple(header for header in record.headers if header[0] not in names)
    letter = Outgoing(topic, record.key, record.value, kept + ours)
    excess = letter.size - max_bytes
    if excess <= 0:
        return letter
    value = (record.value or b"")[: max(0, len(record.value or b"") - excess - 64)]
    cut = Outgoing(topic, record.key, value, (*kept, *ours, (TRUNCATED, b"1")))
    if cut.size <= max_bytes:
        return cut
    return Outgoing(topic, (record.key or b"")[:1024], value[:0], (*ours, (TRUNCATED, b"1")))
