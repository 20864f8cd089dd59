"""Logs are JSON lines with ids, are counted by level, and never hold what somebody wrote."""

import io
import json
from collections import Counter
from collections.abc import Iterator

import pytest
import structlog

from stream_worker.observability.logs import CONTENT_KEYS, configure_logs
from stream_worker.observability.metric_table import LogLevel
from stream_worker.settings.observability import ObservabilitySettings
from tests.unit.observability.watched import TRACE, Watched, limits

CANARY = "canary-5b1d"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    yield io.StringIO()
    structlog.reset_defaults()


def test_a_line_is_one_json_object_with_turn_and_conversation(stream: io.StringIO) -> None:
    configure_logs(ObservabilitySettings(log_level="debug"), lambda _: None, stream)
    watched = Watched(limits())
    watched.rig.start()
    traceparent = f"00-{TRACE}-b7ad6b7169203331-01".encode()
    watched.rig.send("c-1", message_id="m-1", text=CANARY, headers=(("traceparent", traceparent),))
    watched.rig.run(2.0)
    reply = watched.rig.replies[0]
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    replied = next(line for line in lines if line["event"] == "replied")
    assert (replied["turn"], replied["conversation"], replied["level"]) == (reply["turn_id"], "c-1", "debug")
    assert replied["trace_id"] == TRACE
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_key_that_names_a_content_reaches_the_log(stream: io.StringIO, form: str) -> None:
    configure_logs(ObservabilitySettings.model_validate({"log_format": form}), lambda _: None, stream)
    log = structlog.get_logger()
    for key in CONTENT_KEYS:
        log.warning("passed by mistake", **{key: CANARY}, nested={"list": [{key: CANARY}]})
    assert len(stream.getvalue().splitlines()) == len(CONTENT_KEYS)
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_shows_no_variables(stream: io.StringIO, form: str) -> None:
    configure_logs(ObservabilitySettings.model_validate({"log_format": form}), lambda _: None, stream)
    text = CANARY  # what a chat text would be in a frame of the worker
    try:
        raise ValueError(len(text))
    except ValueError:
        structlog.get_logger().exception("it failed")
    assert "ValueError" in stream.getvalue()
    assert CANARY not in stream.getvalue()


def test_lines_are_counted_by_level_and_quiet_ones_are_not(stream: io.StringIO) -> None:
    counted: Counter[LogLevel] = Counter()
    configure_logs(ObservabilitySettings(log_level="warning"), lambda level: counted.update([level]), stream)
    log = structlog.get_logger()
    log.info("quiet")
    log.warning("loud")
    log.error("louder")
    assert counted == {LogLevel.WARNING: 1, LogLevel.ERROR: 1}
