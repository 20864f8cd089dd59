"""Settings say where they come from, and everything wrong is named with its place."""

from pathlib import Path

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_worker.errors import Code, Misconfigured
from stream_worker.settings import Settings
from stream_worker.settings.loader import MASK, load_settings, resolve, settings_hash
from stream_worker.settings.source import Origin
from tests.mutations import mutated

CANARY = "canary-7f3a"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "stream-worker.yaml"


def refused(file: Path | None, environ: dict[str, str] | None = None, **overrides: object) -> Misconfigured:
    with pytest.raises(Misconfigured) as caught:
        load_settings(file, overrides, environ or {})
    return caught.value


def test_without_anything_given_the_defaults_hold() -> None:
    assert load_settings(None, {}, {}) == Settings()


def test_flags_win_over_the_environment_and_it_over_the_file(file: Path) -> None:
    file.write_text("tick_ms: 2\napplication_id: shop\nkafka:\n  release_ms: 9\n")
    environ = {"STREAM_WORKER__TICK_MS": "3", "STREAM_WORKER__KAFKA__RELEASE_MS": "8"}
    resolved = resolve(file, {"tick_ms": 4}, environ)
    assert (resolved.settings.tick_ms, resolved.settings.kafka.release_ms) == (4, 8)
    sources = {name: source for name, _, source in resolved.values()}
    assert sources["tick_ms"].origin is Origin.FLAG
    assert str(sources["kafka.release_ms"]) == "env STREAM_WORKER__KAFKA__RELEASE_MS"
    assert str(sources["application_id"]) == f"{file}:2:1"
    assert str(sources["device"]) == "default"


def test_an_unknown_key_is_named_with_its_place_and_the_nearest_name(file: Path) -> None:
    file.write_text("application_id: shop\nkafka:\n  bootstrap_server: x\n")
    error = refused(file)
    assert error.code is Code.CONFIG_UNKNOWN_KEY
    assert error.detail == f"{file}:3:3: unknown key `kafka.bootstrap_server`: did you mean `bootstrap_servers`?"


def test_an_unknown_variable_names_the_nearest_one() -> None:
    error = refused(None, {"STREAM_WORKER__KAFKA__BOOTSTRAP_SERVER": "x"})
    assert error.code is Code.CONFIG_UNKNOWN_VARIABLE
    assert "did you mean STREAM_WORKER__KAFKA__BOOTSTRAP_SERVERS?" in error.detail


@pytest.mark.parametrize("text", ["${NAME:default}", "${NAME", "a ${file:/run/a", "${}"])
def test_what_is_almost_a_variable_is_refused(file: Path, text: str) -> None:
    file.write_text(f"engine:\n  model: '{text}'\n")
    assert refused(file, {"NAME": "x"}).code is Code.CONFIG_UNSET_VARIABLE


def test_the_one_client_setting_with_an_underscore_can_be_a_variable() -> None:
    assert load_settings(None, {}, {"STREAM_WORKER__KAFKA__CLIENT__LOG_LEVEL": "6"}).kafka.client == {"log_level": "6"}


@pytest.mark.parametrize(
    "text",
    [
        "topics: {events: chat.replies}",
        "topics: {events: 'chat events!'}",
        "topics: {replication_factor: 1}",
        "application_id: '..'",
        "kafka: {bootstrap_servers: ''}",
        "kafka: {session_timeout_ms: 300000}",
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(file: Path, text: str) -> None:
    file.write_text(text + "\n")
    assert refused(file).code is Code.CONFIG_INVALID_VALUE


def test_variables_with_one_underscore_are_not_ours() -> None:
    assert load_settings(None, {}, {"STREAM_WORKER_PORT": "tcp://10.0.0.1:80"}) == Settings()


def test_everything_wrong_is_listed_at_once(file: Path) -> None:
    file.write_text("tick_ms: 0\nkafka:\n  start_at: sometimes\nenginee: {}\nengine:\n  model: ${UNSET}\n")
    detail = refused(file, {"STREAM_WORKER__OUTPUTS__DELTAS": "loud"}).detail
    for place in (f"{file}:1:1", f"{file}:3:3", f"{file}:4:1", f"{file}:6:3", "STREAM_WORKER__OUTPUTS__DELTAS"):
        assert place in detail


@pytest.mark.parametrize(
    ("yaml", "place", "sentence"),
    [
        ("kafka:\n  heartbeat_interval_ms: 50000\n", "2:3", "must be at most a third of session_timeout_ms (6000)"),
        ("kafka:\n  start_at: latest\n  session_timeout_ms: 61000\n", "3:3", "at most max_poll_interval_ms (60000)"),
        ("kafka:\n  release_ms: 20001\n", "2:3", "a third of max_poll_interval_ms (60000): the worker does not poll"),
        (
            "drain_timeout_s: 3\nkafka:\n  session_timeout_ms: 4000\n  release_ms: 1700\n  max_poll_interval_ms: 5000",
            "4:3",
            "release_ms (1700) must be at most a third of max_poll_interval_ms (5000)",
        ),
        (
            "drain_timeout_s: 3\nkafka:\n  max_poll_interval_ms: 6000\n  call_timeout_ms: 2001\n",
            "4:3",
            "call_timeout_ms (2001) must be at most a third of max_poll_interval_ms (6000)",
        ),
        ("tick_ms: 5\ndrain_timeout_s: 40.5\n", "2:1", "two thirds of kafka.max_poll_interval_ms (60000)"),
        ("kafka:\n  max_poll_interval_ms: 29000\n", "2:3", "drain_timeout_s (20) must be at most two thirds"),
        ("admission:\n  tenants: true\n  lower_mark_events: 2000\n", "3:3", "must be below upper_mark_events (2000)"),
        ("topics:\n  events: x\n  min_insync_replicas: 4\n", "3:3", "at most replication_factor (3)"),
        ("tick_ms: 5\ntopics:\n  deltas: chat.replies\n", "2:1", "two of the topics have the same name: chat.replies"),
    ],
)
def test_what_does_not_go_together_is_told_where_it_was_given(file: Path, yaml: str, place: str, sentence: str) -> None:
    file.write_text(yaml)
    detail = refused(file).detail
    assert detail.startswith(f"{file}:{place}: ")
    assert sentence in detail


def test_what_does_not_go_together_is_told_of_a_variable_too() -> None:
    detail = refused(None, {"STREAM_WORKER__DRAIN_TIMEOUT_S": "300"}).detail
    assert detail.startswith("STREAM_WORKER__DRAIN_TIMEOUT_S: settings: drain_timeout_s (300) must be at most")


@pytest.mark.parametrize(
    "kafka", [{"release_ms": 20_000}, {"session_timeout_ms": 60_000}, {"call_timeout_ms": 10_000}], ids=str
)
def test_the_longest_that_the_group_bears_is_taken(file: Path, kafka: dict[str, int]) -> None:
    ((name, value),) = kafka.items()
    file.write_text(f"drain_timeout_s: 40\nkafka:\n  {name}: {value}\n")
    assert load_settings(file, {}, {}).drain_timeout_s == 40


def test_a_list_item_without_a_required_key_is_named(file: Path) -> None:
    file.write_text("bots:\n  - tenant: acme\n")
    assert refused(file).detail == f"{file}:2:5: bots[0].file: Field required"


def test_a_commented_line_needs_no_variable(file: Path) -> None:
    file.write_text("# application_id: ${NOBODY_SETS_THIS}\ntick_ms: 7\n")
    assert load_settings(file, {}, {}).tick_ms == 7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${NAME}", "shop"),
        ("${NAME:-other}", "shop"),
        ("${NONE:-other}", "other"),
        ("${EMPTY:-other}", "other"),
        ("a-${NAME}-b", "a-shop-b"),
    ],
)
def test_variables_are_put_into_values(file: Path, text: str, expected: str) -> None:
    file.write_text(f"application_id: {text}\n")
    assert load_settings(file, {}, {"NAME": "shop", "EMPTY": ""}).application_id == expected


def test_a_doubled_dollar_is_a_plain_one(file: Path) -> None:
    file.write_text("kafka: {client: {x: '$${NAME}'}}\n")
    assert load_settings(file, {}, {}).kafka.client == {"x": "${NAME}"}


def test_a_variable_cannot_change_the_structure(file: Path) -> None:
    file.write_text("kafka:\n  bootstrap_servers: ${SERVERS}\n")
    settings = load_settings(file, {}, {"SERVERS": "a:1\n  release_ms: 1"})
    assert settings.kafka.bootstrap_servers == "a:1\n  release_ms: 1"
    assert settings.kafka.release_ms == Settings().kafka.release_ms


def test_secrets_are_shown_nowhere(file: Path, tmp_path: Path) -> None:
    (tmp_path / "servers").write_text(CANARY + "\n")
    file.write_text("kafka:\n  bootstrap_servers: ${file:servers}\n  client: {sasl.password: " + CANARY + "}\n")
    environ = {"STREAM_WORKER__KAFKA__CLIENT__SSL_KEY_PASSWORD": CANARY}
    resolved = resolve(file, {}, environ)
    assert resolved.settings.kafka.bootstrap_servers == CANARY
    assert resolved.settings.kafka.client == {"sasl.password": CANARY, "ssl.key.password": CANARY}
    assert CANARY not in str(list(resolved.values())) + str(resolved.masked())
    assert resolved.masked()["kafka"]["client"]["sasl.password"] == MASK


def test_a_wrong_value_is_not_repeated_in_the_message(file: Path) -> None:
    file.write_text(f"tick_ms: {CANARY}\nkafka: {{client: {{sasl.password: [{CANARY}]}}}}\n")
    assert CANARY not in str(refused(file))


def test_relative_paths_are_relative_to_the_file(file: Path, tmp_path: Path) -> None:
    file.write_text("bots: [{file: bots/shop.yaml}]\nengine: {model: ./model}\nconversation: {state_dir: /var/x}\n")
    settings = load_settings(file, {}, {})
    assert settings.bots[0].file == tmp_path / "bots/shop.yaml"
    assert settings.engine.model == str(tmp_path / "model")
    assert settings.conversation.state_dir == Path("/var/x")


def test_lists_in_the_environment_are_yaml() -> None:
    environ = {"STREAM_WORKER__BOTS": "[{file: a.yaml}]", "STREAM_WORKER__UNDERSTANDING__ENCODER": "null"}
    settings = load_settings(None, {}, environ)
    assert (settings.bots[0].file, settings.understanding.encoder) == (Path("a.yaml"), None)


@pytest.mark.parametrize(
    "content", [b"a: [", b"- 1\n", b"\xff\xfe", b"tick_ms: 1\ntick_ms: 2\n", b"1: 2\n", b"a\x00: 1"]
)
def test_a_file_that_is_no_mapping_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert str(file) in refused(file).detail


_VALID = (
    b"application_id: shop\ntick_ms: 7\nbots:\n  - file: bot.yaml\n    tenant: acme\nkafka:\n  release_ms: 9\n"
    b"  client: {sasl.password: x, log_level: 3, debug: true}\nadmission:\n  tenant_weights: {acme: 1.5}\n",
    b'{"engine": {"kind": "openai", "openai": {"api_key": "${A}", "extra_body": {"a": [1, {"b": null}]}, "omit": []},'
    b' "sampling": {"logit_bias": {"5": -1.5}, "stop": ["x"]}}, "calls": {"headers": {"h": {"a": "b"}}}}',
    b"engine:\n  model: ./model\n  sampling: {temperature: 0.7}\nconversation: {state_dir: state}\ntopics:\n"
    b"  events: chat.in\n  partitions: 8\nunderstanding: {encoder: null}\nslo: {reply_seconds: 2.5}\n",
)


@pytest.mark.fuzz
@given(content=st.binary(max_size=60) | mutated(_VALID))
@example(b'{&engine": {"kind": "openai"}}')
@example(b"tick_ms: " + b"9" * 5_000)
@example(b"engine: {openai: {extra_body: {a: 99999999999999999999}}}")
@example(b'engine: {model: "\\ud800"}')
@example(b"a: " + b"[" * 1_100)
def test_no_file_content_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(content)
    _usable_or_refused(file, {"A": "b"})


_PLACES = ("KAFKA__CLIENT__SASL_PASSWORD", "BOTS", "ENGINE__OPENAI__EXTRA_BODY", "TICK_MS", "CALLS__HEADERS", "KAFKA")


@pytest.mark.fuzz
@given(place=st.sampled_from(_PLACES), content=st.binary(max_size=30) | mutated([*_VALID, b"[{file: a.yaml}]", b"7"]))
@example(place="BOTS", content=b"9" * 5_000)
@example(place="KAFKA__CLIENT__SASL_PASSWORD", content=b"\xff")
def test_no_variable_raises_anything_else(place: str, content: bytes) -> None:
    """As the system hands them over: bytes that are no UTF-8 as lone surrogates."""
    _usable_or_refused(None, {f"STREAM_WORKER__{place}": content.decode("utf-8", "surrogateescape")})


def _usable_or_refused(file: Path | None, environ: dict[str, str]) -> None:
    try:
        resolved = resolve(file, {}, environ)
    except Misconfigured as error:
        str(error).encode()
        return
    settings_hash(resolved.settings)
    orjson.dumps([resolved.masked(), [(name, value, str(source)) for name, value, source in resolved.values()]])
    resolved.secret_values()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path / "gone.yaml")
    assert error.code is Code.CONFIG_UNREADABLE
    assert "gone.yaml" in error.detail


def test_the_hash_tells_settings_apart_but_not_by_secrets_or_instance() -> None:
    plain = Settings()
    with_secret = Settings.model_validate({"kafka": {"client": {"sasl.password": CANARY}}, "instance": "3"})
    assert settings_hash(plain) == settings_hash(Settings.model_validate({"instance": "1"}))
    assert settings_hash(with_secret) == settings_hash(
        Settings.model_validate({"kafka": {"client": {"sasl.password": "other"}}})
    )
    assert settings_hash(plain) != settings_hash(Settings(tick_ms=6))
