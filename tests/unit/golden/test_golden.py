"""Golden conversations: what is played, what counts as a difference, what is told of it, and what `--update` writes."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from stream_worker.cli import app as frame
from stream_worker.errors import Misconfigured
from stream_worker.golden.conversation import ExpectFile, load_goldens
from stream_worker.golden.report import Report, html, junit, lines
from stream_worker.golden.seen import Seen, differences
from stream_worker.golden.suite import Suite
from stream_worker.golden.tested import have_passed

_BOT = """
bot: echo
languages: [en, zh]
fallback:
  call: [{name: clock, url: "https://time.example/now"}]
  reply: {template: "It is {{ clock.hour }}."}
  emit: [{command: note, arguments: {hour: "{{ clock.hour }}"}}]
triggers:
  morning: {reply: {template: Good morning!}}
handoff: {timeout_s: 3600}
"""
_CONVERSATION = """
# A comment that stays.
conversation: telling the time
actions:
  clock: [{result: {hour: 9}}, {fail: status 503}]
steps:
  - user: What time is it?
  - expect:
      intent: null
      action: [clock, {name: note, arguments: {hour: "9"}}]
      reply: {equals: It is 9., max_words: 3}
  - user: And now?
  - expect: {no_action: false, reply: cannot answer}
  - trigger: morning
  - expect: {reply: Good morning, replies: 1}
  - handoff: true
  - user: hello
  - human: I am Eve.
  - expect: {handoff: true, silent: true}
  - wait: 4000
  - user: hello again
  - expect: {handoff: false}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bot.yaml").write_text(_BOT)
    (tmp_path / "tests" / "conversations").mkdir(parents=True)
    (tmp_path / "tests" / "conversations" / "time.yml").write_text(_CONVERSATION)
    return tmp_path


def _run(folder: Path, repeat: int = 1) -> Report:
    return Suite(folder, lambda _: None).run(load_goldens([folder / "tests" / "conversations"]), repeat)


def _command(*arguments: str) -> Any:
    return CliRunner().invoke(frame.app, ["test", *arguments])


def test_a_conversation_is_played_with_calls_from_its_file_and_time_that_passes_at_once(folder: Path) -> None:
    report = _run(folder)
    assert report.passed, "\n".join(lines(report))
    assert len(report.played[0].looks) == 5


def test_a_failing_turn_shows_what_was_seen_and_where(folder: Path) -> None:
    file = folder / "tests" / "conversations" / "time.yml"
    file.write_text(_CONVERSATION.replace("It is 9.", "It is 10."))
    text = "\n".join(lines(_run(folder)))
    assert f"{file}:8:5  after: What time is it?" in text
    assert "- It is 10.\n      + It is 9." in text
    assert "| action   note {'hour': '9'}" in text
    assert "0 passed, 1 failed" in text


def test_the_reports_for_ci_and_people_tell_the_failure(folder: Path) -> None:
    (folder / "tests" / "conversations" / "time.yml").write_text(_CONVERSATION.replace("It is 9.", "It is <b>."))
    report = _run(folder)
    suite = ElementTree.fromstring(junit(report))
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert "It is <b>." in (failure.text or "")
    page = html(report)
    assert "It is &lt;b&gt;." in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=", page)


def test_the_command_says_by_its_exit_code_how_it_went(folder: Path) -> None:
    assert _command(str(folder)).exit_code == 0
    assert _command(str(folder), "-k", "nothing of this name").exit_code == 5
    file = folder / "tests" / "conversations" / "time.yml"
    file.write_text(_CONVERSATION.replace("It is 9.", "It is 10."))
    assert _command(str(folder)).exit_code == 1


def test_only_a_run_of_all_conversations_that_passes_is_remembered(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    file = folder / "tests" / "conversations" / "time.yml"
    _command(str(folder), "-k", "telling")
    assert have_passed(folder) is False
    file.write_text(_CONVERSATION.replace("It is 9.", "It is 10."))
    _command(str(folder))
    assert have_passed(folder) is False
    file.write_text(_CONVERSATION)
    _command(str(folder))
    assert have_passed(folder) is True


def test_update_writes_what_was_seen_and_keeps_the_rest(folder: Path) -> None:
    file = folder / "tests" / "conversations" / "time.yml"
    file.write_text(_CONVERSATION.replace("equals: It is 9.", "equals: It is 10."))
    done = _command(str(folder), "--update")
    assert done.exit_code == 0
    assert "+" in done.output
    assert "# A comment that stays." in file.read_text()
    assert _run(folder).passed


def test_what_comes_out_differently_is_told_as_flaky(folder: Path) -> None:
    report = _run(folder, repeat=3)
    assert report.flakes() == {}
    report.rounds[1][0].stuck = "for the test"
    assert report.flakes() == {"telling the time": pytest.approx(1 / 3)}


def test_coverage_names_what_no_conversation_came_by(folder: Path) -> None:
    (folder / "bot.yaml").write_text(_BOT + "intents:\n  greet: {}\n")
    told = "; ".join(each.line() for each in _run(folder).coverage)
    assert "intents 0/1  not: greet" in told
    assert "actions 2/2" in told


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "conversation: x\nsteps:\n  - usr: hi\n",
            r"x\.yml:3:5: steps\.0\.usr: unknown key `usr`; did you mean `user`",
        ),
        ("conversation: x\nsteps:\n  - user: hi\n    wait: 3\n", "a step is one of"),
        ("conversation: x\nsteps:\n  - expect: {reply: {contian: a}}\n", "did you mean `contains`"),
    ],
)
def test_a_wrong_conversation_is_refused_with_its_position(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "x.yml").write_text(text)
    with pytest.raises(Misconfigured, match=complaint):
        load_goldens([tmp_path])


def _seen(text: str, **analysis: Any) -> Seen:
    found = {"intent": "a", "slots": [], "intents": [], "in_scope": True, "decision": "model", **analysis}
    return Seen(replies=({"text": text},), analyses=(found,), actions=(("go", {"to": "x"}),))


@pytest.mark.parametrize(
    ("expect", "key"),
    [
        ({"intent": "b"}, "intent"),
        ({"intent": None}, "intent"),
        ({"slots": {"x": "1"}}, "slots"),
        ({"action": "stay"}, "action"),
        ({"action": {"name": "go", "arguments": {"to": "y"}}}, "action"),
        ({"no_action": True}, "no_action"),
        ({"silent": True}, "silent"),
        ({"handoff": True}, "handoff"),
        ({"replies": 2}, "replies"),
        ({"decision": "template"}, "decision"),
        ({"reply": "cloudy"}, "reply.contains"),
        ({"reply": {"not": "sunny"}}, "reply.not"),
        ({"reply": {"equals": "sunny"}}, "reply.equals"),
        ({"reply": {"regex": "^x"}}, "reply.regex"),
        ({"reply": {"max_words": 2}}, "reply.max_words"),
        ({"reply": {"language": "zh"}}, "reply.language"),
        ({"reply": {"similar": {"to": "something else entirely"}}}, "reply.similar"),
    ],
)
def test_each_expectation_can_fail(expect: dict[str, Any], key: str) -> None:
    found = differences(ExpectFile.model_validate(expect), _seen("It is sunny in Rome."))
    assert [each.key for each in found] == [key]


@pytest.mark.parametrize(
    "expect",
    [
        {"intent": "a", "slots": {}, "action": {"name": "go", "arguments": {"to": "x"}}, "handoff": False},
        {"reply": {"contains": ["SUNNY", "Rome"], "not": "rain", "max_words": 5, "language": "en"}},
        {"reply": {"similar": {"to": "In Rome it is sunny.", "at_least": 0.9}, "regex": "sun+y"}},
    ],
)
def test_what_is_as_expected_makes_no_difference(expect: dict[str, Any]) -> None:
    assert differences(ExpectFile.model_validate(expect), _seen("It is sunny in Rome.")) == []


def test_a_slot_that_must_be_carried_is_not_the_same_when_it_was_said() -> None:
    slot = {"name": "x", "value": "1", "carried": False}
    expect = ExpectFile.model_validate({"slots": {"x": {"value": "1", "carried": True}}})
    assert [each.key for each in differences(expect, _seen("a", slots=[slot]))] == ["slots.x.carried"]


def test_a_judge_is_asked_for_what_only_a_reader_can_tell() -> None:
    expect = ExpectFile.model_validate({"judge": "it is polite"})
    assert differences(expect, _seen("Go away."), lambda statement, reply: "it is rude")[0].key == "judge"
    assert differences(expect, _seen("Thank you."), lambda statement, reply: None) == []
