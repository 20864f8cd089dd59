"""Logs: one JSON object a line on stderr, or coloured lines for people.

A line names turns and conversations by id and never holds what somebody
wrote: nobody passes a text, and a processor drops keys that would carry one.
"""

import logging
import sys
from collections.abc import Callable
from typing import TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from stream_worker.errors import frames, raised
from stream_worker.observability.metric_table import LogLevel
from stream_worker.settings.observability import ObservabilitySettings

#: Names under which a chat text might travel.
CONTENT_KEYS = frozenset(
    {
        "text",
        "content",
        "value",
        "key_bytes",
        "prompt",
        "reply",
        "delta",
        "messages",
        "message_text",
        "slots",
        "payload",
    }
)


def configure_logs(
    settings: ObservabilitySettings, counted: Callable[[LogLevel], None], stream: TextIO | None = None
) -> None:
    """Sets the process's logging up; `counted` is told the level of each line that is written."""

    def count(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        counted(LogLevel(event["level"]))
        return event

    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    target = stream if stream is not None else sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        drop_content,
        show_the_way,
        count,
    ]
    structlog.configure(
        processors=[*shared, *_renderers(settings, target)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )


def drop_content(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Defence in depth: a text that somebody passes by mistake does not reach the log."""
    return {key: _without_content(value) for key, value in event.items() if key not in CONTENT_KEYS}


def _without_content(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_content(inner) for key, inner in value.items() if key not in CONTENT_KEYS}
    if isinstance(value, list | tuple):
        return [_without_content(inner) for inner in value]
    return value


def _renderers(settings: ObservabilitySettings, target: TextIO) -> list[Processor]:
    if settings.log_format == "console":
        return [structlog.dev.ConsoleRenderer(colors=target.isatty())]
    return [structlog.processors.JSONRenderer(serializer=_json)]


def show_the_way(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Of an exception its type and places; its message and variables hold what somebody wrote, perhaps."""
    given = event.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else sys.exc_info()[1] if given else None
    if error is not None:
        event["raised"], event["frames"] = raised(error), frames(error)
    return event


def _json(event: object, **_options: object) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
