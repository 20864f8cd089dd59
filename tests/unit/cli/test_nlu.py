"""`nlu`: from a file of examples to JSON lines, without anything but files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_worker.cli.nlu import app
from stream_worker.errors import Misconfigured
from tests.outputs import FORMATS, assert_as_documented
from tests.unit.inference.tiny_encoder import write_tiny_encoder

_EXAMPLES = """\
nlu:
- intent: weather
  examples: |
    - in [rome](location) now
    - in [oslo](location) now
    - rain in [bern](location)
- intent: greet
  examples: |
    - hello
    - hi you
    - good day
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("encoder")
    write_tiny_encoder(folder)
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("data") / "nlu.yml"
    file.write_text(_EXAMPLES, encoding="utf-8")
    return str(file)


@pytest.fixture(scope="module")
def model(encoder: str, data: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("model"))
    result = CliRunner().invoke(app, ["train", data, "-o", folder, "--encoder", encoder], catch_exceptions=False)
    assert result.exit_code == 0
    assert "2 intents and 1 slots from 6 examples" in result.stdout
    return folder


def test_parse_writes_a_line_of_json_for_each_line_of_text(encoder: str, model: str) -> None:
    texts = ["in rome now", "", "🎉 \u2028 hello", "hi you"]
    given = ("\n".join(texts) + "\n").encode()
    result = CliRunner().invoke(app, ["parse", model, "--encoder", encoder], input=given, catch_exceptions=False)
    rows = [json.loads(line) for line in result.stdout_bytes.splitlines()]
    assert [row["text"] for row in rows] == texts
    for row in rows:
        assert list(row) == [
            "text",
            "language",
            "intents",
            "scope",
            "in_scope",
            "slots",
            "sentiment",
            "intent",
            "entities",
        ]
        assert set(row["sentiment"]) == {"label", "score"}
        assert {intent["name"] for intent in row["intents"]} == {"weather", "greet"}
    (slot,) = rows[0]["slots"]
    assert list(slot) == ["name", "value", "start", "end", "score", "role", "group"]
    assert (slot["name"], slot["value"], slot["start"], slot["end"]) == ("location", "rome", 3, 7)


def test_parse_prints_a_row_a_text_for_people(encoder: str, model: str) -> None:
    result = CliRunner().invoke(
        app, ["parse", model, "--encoder", encoder, "-o", "table"], input="in rome now\n", catch_exceptions=False
    )
    heading, row = (line.split("\t") for line in result.stdout.splitlines())
    assert heading == ["text", "language", "intent", "scope", "slots"]
    assert row[0] == "in rome now"
    assert '"value":"rome"' in row[4]


def test_parse_of_nothing_is_a_document_of_nothing(encoder: str, model: str) -> None:
    result = CliRunner().invoke(app, ["parse", model, "--encoder", encoder, "-o", "json"], input="")
    assert json.loads(result.stdout) == []


@pytest.mark.parametrize("output", FORMATS)
def test_what_is_printed_is_as_its_schema_says(encoder: str, model: str, data: str, output: str) -> None:
    lines = {
        "parse": ([model], "in rome now\n🎉\n"),
        "explain": ([model, "in rome now"], ""),
        "evaluate": ([model, data], ""),
        "validate": ([data], ""),
    }
    for command, (arguments, given) in lines.items():
        line = [command, *arguments, "--encoder", encoder, "-o", output]
        result = CliRunner().invoke(app, line, input=given)
        assert_as_documented(f"nlu {command}", result.stdout, output)


def test_parse_recognises_what_it_is_asked_for(encoder: str, model: str) -> None:
    given = b"hi bob@x.org tomorrow at 7pm, A-77\n"
    options = [
        "--entity",
        "all",
        "--entity",
        r"order_id=A-\d+",
        "--time-zone",
        "Europe/Berlin",
        "--at",
        "2026-03-04T23:30",
    ]
    command = ["parse", model, "--encoder", encoder, "--language", "en", *options]
    result = CliRunner().invoke(app, command, input=given, catch_exceptions=False)
    assert json.loads(result.stdout)["entities"] == [
        {"name": "email", "value": "bob@x.org", "start": 3, "end": 12},
        {"name": "date", "value": "2026-03-06T19:00+01:00", "start": 13, "end": 28},
        {"name": "order_id", "value": "A-77", "start": 30, "end": 34},
    ]


@pytest.mark.parametrize(
    "option", [("--entity", "dates"), ("--entity", r"x=(a)\1"), ("--time-zone", "Mars"), ("--entity", "x=(")]
)
def test_parse_refuses_what_nothing_recognises(option: tuple[str, str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["parse", str(tmp_path), *option], input=b"hi\n")
    assert result.exit_code == 2
    assert option[0] in result.output


def test_parse_answers_a_line_before_the_next_one_is_written(encoder: str, model: str) -> None:
    command = [sys.executable, "-m", "stream_worker", "nlu", "parse", model, "--encoder", encoder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in ("hello", "你好 hello", "in rome now"):
            process.stdin.write(text.encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text
        process.stdin.close()
        assert process.wait(200) == 0


def test_parse_keeps_the_order_of_more_lines_than_are_read_at_once(encoder: str, model: str) -> None:
    texts = [f"hello {number} {'x' * (number % 90)}" for number in range(600)]
    result = CliRunner().invoke(
        app,
        ["parse", model, "--encoder", encoder],
        input="\n".join(texts).encode(),
        catch_exceptions=False,
    )
    assert [json.loads(line)["text"] for line in result.stdout_bytes.splitlines()] == texts


def test_parse_names_the_language_of_each_script_and_of_those_given(encoder: str, model: str) -> None:
    given = "good day\n今天天气怎么样\nпривет как дела\nguten Tag wie geht es dir\n".encode()
    arguments = ["parse", model, "--encoder", encoder]
    for more, languages in (([], "en zh ru en"), (["--language", "en", "--language", "de"], "en en en de")):
        result = CliRunner().invoke(app, [*arguments, *more], input=given, catch_exceptions=False)
        assert [json.loads(line)["language"] for line in result.stdout_bytes.splitlines()] == languages.split()


@pytest.mark.parametrize("folds", ["0", "3"])
def test_evaluate_counts_every_example(encoder: str, model: str, data: str, folds: str) -> None:
    arguments = ["evaluate", model, data, "--encoder", encoder, "--folds", folds, "-o", "json"]
    printed = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    assert printed["examples"] == 6
    counted = {row["name"]: row["examples"] for row in printed["scores"]}
    assert (counted["weather"], counted["greet"], counted["location"]) == (3, 3, 3)
    assert 0 <= printed["slot_f1"] <= 1


def test_evaluate_prints_a_table_for_people_and_refuses_a_single_fold(encoder: str, model: str, data: str) -> None:
    arguments = ["evaluate", model, data, "--encoder", encoder]
    table = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert table.splitlines()[0].split("\t") == ["kind", "name", "examples", "precision", "recall", "f1"]
    assert CliRunner().invoke(app, [*arguments, "--folds", "1"]).exit_code == 2


def test_examples_that_are_wrong_end_the_training(encoder: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("nlu:\n- story: x\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["train", str(wrong), "-o", str(tmp_path / "out"), "--encoder", encoder])
    assert isinstance(result.exception, Misconfigured)
    assert f"{wrong}:2" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_the_report_is_one_page_without_requests_and_the_next_run_is_compared(
    encoder: str, model: str, data: str, tmp_path: Path
) -> None:
    arguments = ["evaluate", model, data, "--encoder", encoder, "--report", str(tmp_path), "-o", "json"]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    again = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    assert again["change"] == {"examples": 6, "gained": 0, "lost": 0, "p": 1.0}
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Reliability" in page
    assert not [word for word in ("http:", "https:", "src=", "@import", "url(") if word in page]
    kept = (Path(model) / "evaluation.json").read_text(encoding="utf-8")
    assert "in rome" not in kept


def test_an_evaluation_that_falls_short_ends_with_one(encoder: str, model: str, data: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("nlu:\n- intent: weather\n  examples: |\n    - hello\n", encoding="utf-8")
    for file, code in ((str(wrong), 1), (data, 0)):
        arguments = ["evaluate", model, file, "--encoder", encoder, "--fail-under", "0.5"]
        assert CliRunner().invoke(app, arguments).exit_code == code


@pytest.mark.parametrize("method", ["occlusion", "gradient_x_input"])
def test_explain_gives_each_word_its_share(encoder: str, model: str, method: str) -> None:
    arguments = ["explain", model, "in rome now", "--encoder", encoder, "--method", method]
    found = json.loads(CliRunner().invoke(app, [*arguments, "-o", "json"], catch_exceptions=False).stdout)
    assert [one["decision"] for one in found["decisions"]][:2] == ["intent", "scope"]
    for one in found["decisions"]:
        assert [word["text"] for word in one["words"]] == ["in", "rome", "now"]
        assert (one["method"], max(abs(word["weight"]) for word in one["words"])) == (method, 1.0)
    printed = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert "rome" in printed


def test_validate_finds_what_is_wrong_and_ends_with_one(encoder: str, data: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(
        "nlu:\n- intent: weather\n  examples: |\n    - hello\n    - in rome again\n    - in [rome](location) please\n"
        "- lookup: size\n  examples: |\n    - large\n",
        encoding="utf-8",
    )
    result = CliRunner().invoke(app, ["validate", data, str(wrong), "--encoder", encoder, "-o", "json"])
    assert result.exit_code == 1
    found = {(row["kind"], row["place"].rpartition(":")[2]) for row in json.loads(result.stdout)}
    expected = {("same_text_other_intent", "4"), ("slot_value_not_marked", "5"), ("slot_never_marked", "")}
    assert expected <= found
    assert any(kind == "tiny_intent" for kind, _ in found)
