"""An event that is not answered ends its trace, too: with one span that says how. Feedback is told of the reply."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from stream_worker.errors import Misconfigured
from stream_worker.trace_export import PlannedIds, provider
from stream_worker.tracing import CAPTURE
from tests.doc_blocks import ROOT
from tests.unit.observability.traced import CANARY, PARENT, TRACE, Traced, tree
from tests.unit.worker.rig import settings

_HEADERS = (("traceparent", f"00-{TRACE}-{PARENT}-01".encode()),)
_PROCESS = "process chat.events"


def _of_the_trace(spans: tuple[ReadableSpan, ...], name: str = _PROCESS) -> list[dict[str, Any]]:
    """Attributes of the spans of this name in the sender's trace."""
    return [
        dict(span.attributes or {})
        for span in spans
        if span.name == name and span.context is not None and f"{span.context.trace_id:032x}" == TRACE
    ]


def _garbage(traced: Traced) -> None:
    traced.rig.broker.append("chat.events", b"c-1", f"not json: {CANARY}".encode(), _HEADERS)


def _too_late(traced: Traced) -> None:
    traced.send(expires_at=1)


def _taken_over(traced: Traced) -> None:
    traced.send("", message_id="m-0")
    traced.send()
    traced.rig.send("c-1", type="handoff", message_id="h-1")


@pytest.mark.parametrize(
    ("happens", "outcome", "error"),
    [
        (_garbage, "dead_lettered", "invalid_json"),
        (_too_late, "expired", "expired"),
        (_taken_over, "withdrawn", None),
    ],
)
def test_what_is_not_answered_ends_its_trace(
    tmp_path: Path, happens: Callable[[Traced], None], outcome: str, error: str | None
) -> None:
    traced = Traced(tmp_path)
    happens(traced)
    spans = traced.ended()
    (ended,) = _of_the_trace(spans)
    assert (ended["stream_worker.outcome"], ended.get("error.type")) == (outcome, error)
    letters = _of_the_trace(spans, "send chat.dead-letters")
    assert len(letters) == (outcome == "dead_lettered")
    assert CANARY not in "".join(span.to_json() for span in spans)


def test_a_turn_that_fails_says_why_though_it_has_a_fallback_text(tmp_path: Path) -> None:
    traced = Traced(tmp_path, seconds=60.0)
    traced.send()
    spans = traced.ended(700.0)
    (ended,) = _of_the_trace(spans)
    assert (ended["stream_worker.outcome"], ended["error.type"]) == ("dead_lettered", "turn_timeout")
    (process,) = (span for span in spans if span.name == _PROCESS)
    assert process.status.status_code is StatusCode.ERROR
    assert len(_of_the_trace(spans, "send chat.replies")) == 1
    assert len(_of_the_trace(spans, "send chat.dead-letters")) == 1


def test_a_turn_is_linked_to_the_traces_of_what_merged_into_it(tmp_path: Path) -> None:
    traced = Traced(tmp_path, more_of_bot="turn_taking: {on_new_message: merge, merge_window_ms: 300}\n")
    other = "ab" * 16
    traced.send()
    traced.send(f"00-{other}-{PARENT}-01", message_id="m-2")
    (process,) = (span for span in traced.ended() if span.name == _PROCESS)
    assert [f"{link.context.trace_id:032x}" for link in process.links] == [other]


def test_what_is_only_heard_leaves_no_span(tmp_path: Path) -> None:
    traced = Traced(tmp_path)
    traced.rig.send(
        "c-1", headers=_HEADERS, message_id="m-1", text="I am a colleague", sender={"id": "a", "role": "agent"}
    )
    assert not _of_the_trace(traced.ended())


def _judged(traced: Traced, score: float) -> tuple[ReadableSpan, ...]:
    """Feedback as a gateway sends it: with the trace context of the reply that it is about."""
    traced.send()
    traced.rig.run(2.0)
    (reply,) = traced.rig.broker.read_committed("chat.replies")
    reply_id = orjson.loads(reply.value or b"")["reply_id"]
    traced.rig.send(
        "c-1",
        headers=(("traceparent", dict(reply.headers)["traceparent"]),),
        type="feedback",
        message_id="f-1",
        reply_id=reply_id,
        score=score,
        comment=f"{CANARY} by ann@example.org",
    )
    return traced.ended()


@pytest.mark.parametrize(("score", "label"), [(1.0, "good"), (-0.5, "bad"), (0.0, "neutral")])
def test_feedback_is_an_evaluation_in_the_trace_of_its_reply(tmp_path: Path, score: float, label: str) -> None:
    traced = Traced(tmp_path)
    spans = _judged(traced, score)
    (span,) = (each for each in spans if each.events)
    (event,) = span.events
    given = dict(event.attributes or {})
    assert event.name == "gen_ai.evaluation.result"
    assert given.pop("gen_ai.response.id") == traced.rig.replies[0]["reply_id"]
    assert given == {
        "gen_ai.evaluation.name": "user_feedback",
        "gen_ai.evaluation.score.value": score,
        "gen_ai.evaluation.score.label": label,
        "gen_ai.conversation.id": "c-1",
    }
    (send,) = (each for each in spans if each.name == "send chat.replies")
    assert span.parent is not None
    assert send.context is not None
    assert span.parent.span_id == send.context.span_id
    assert CANARY not in "".join(each.to_json() for each in spans)


def test_the_comment_of_feedback_is_shown_only_where_texts_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CAPTURE, "true")
    (span,) = (each for each in _judged(Traced(tmp_path), 1.0) if each.events)
    explained = dict(span.events[0].attributes or {})["gen_ai.evaluation.explanation"]
    assert explained == f"{CANARY} by [email]"


def test_the_docs_print_the_tree_of_a_turn(tmp_path: Path) -> None:
    traced = Traced(tmp_path)
    traced.send()
    page = (ROOT / "docs" / "how-to" / "tracing.md").read_text(encoding="utf-8")
    assert f"```\n{tree(traced.ended())}```\n" in page


@pytest.mark.parametrize(("name", "value"), [("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_SDK_DISABLED", "true")])
def test_the_variables_of_opentelemetry_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    traced = Traced(tmp_path)
    traced.send()
    assert traced.ended() == ()
    assert len(traced.rig.replies) == 1


def test_the_name_of_the_service_may_be_among_the_resource_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert provider(settings(), PlannedIds(), None).resource.attributes["service.name"] == "test"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=chosen,deployment.environment.name=here")
    attributes = provider(settings(instance="7"), PlannedIds(), None).resource.attributes
    assert attributes["service.name"] == "chosen"
    assert attributes["service.instance.id"] == "7"
    assert attributes["deployment.environment.name"] == "here"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "otlp, console, none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
    ],
)
def test_an_exporter_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match=says):
        provider(settings(), PlannedIds(), None)
