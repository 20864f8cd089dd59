"""Doctor finds nothing wrong with what is sound, and exactly one thing where one thing is broken."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stream_worker.doctor import bots, broker, device, model, runtime, watching
from stream_worker.doctor.finding import Finding, Mark
from stream_worker.errors import Code, Missing
from stream_worker.golden.tested import remember
from stream_worker.inference.model_facts import ModelFacts
from stream_worker.kafka.cluster_facts import ClusterFacts, GroupFacts, Hanging
from stream_worker.kafka.group_admin import GroupStatus, PartitionStatus
from stream_worker.kafka.listeners import Listener
from stream_worker.observability.metric_table import PREFIX, TABLE
from stream_worker.settings import Settings
from stream_worker.training.rasa_yaml import read_rasa_yaml

_DAY_S = 86_400.0
_GIB = 1 << 30

RUNTIME = runtime.RuntimeFacts(
    python=(3, 12),
    client_version="2.16.1",
    lacking=(),
    open_files=65_536,
    processors=4,
    memory_bytes=16 * _GIB,
    state_folder_problem="",
    free_bytes=20 * _GIB,
)
DEVICE = device.DeviceFacts(
    driver=True, gpus=1, bfloat16=True, processor_flags=frozenset({"avx2", "avx512f"}), swap=False
)
MODEL = model.ModelGroupFacts(
    problem="",
    cure="",
    folder=Path("model"),
    model=ModelFacts(
        parameters=100_000_000,
        cache_numbers_per_token=10_000,
        max_context_tokens=8_192,
        has_chat_template=True,
        absent=(),
    ),
    bytes_per_number=2,
    memory_bytes=16 * _GIB,
)
CLUSTER = ClusterFacts(brokers=3, round_trip_s=0.002, max_transaction_ms=900_000, session_ms=6_000)
GROUP = GroupFacts(
    status=GroupStatus(
        "app", "stable", 2, tuple(PartitionStatus(number, f"w-{number}", 10, 12) for number in range(2))
    ),
    foreign_topics=(),
    instances=("0-cpu", "1-cpu"),
    starts={0: 0, 1: 5},
    hanging=(),
    ahead_s=0.0,
)
WATCHING = watching.WatchingFacts(
    port=9464,
    taken=True,
    exported=frozenset(f"{PREFIX}_{name}".removesuffix("_total") for name in TABLE),
    collector="http://collector:4318",
    collector_answers=True,
)
SETTINGS = Settings()


def _model(**changes: Any) -> model.ModelGroupFacts:
    assert MODEL.model is not None
    return replace(MODEL, model=replace(MODEL.model, **changes))


def _status(**changes: Any) -> GroupStatus:
    return replace(GROUP.status, **changes)


def _in_group(facts: GroupFacts) -> Callable[[], Iterable[Finding]]:
    return lambda: broker.judge_group(facts, "7-cpu")


def _settings(**changes: Any) -> Settings:
    return Settings.model_validate(changes)


SOUND: list[Callable[[], Iterable[Finding]]] = [
    lambda: runtime.judge(RUNTIME, SETTINGS),
    lambda: device.judge(DEVICE, SETTINGS),
    lambda: device.judge(replace(DEVICE, driver=False, gpus=0), _settings(device="cpu")),
    lambda: model.judge(MODEL, SETTINGS),
    lambda: model.judge(None, _settings(engine={"kind": "scripted"})),
    lambda: broker.judge_listeners(
        [Listener(address="a:1"), Listener(address="b:1", certificate_ends=time.time() + 90 * _DAY_S)]
    ),
    lambda: broker.judge_own_certificate(time.time() + 90 * _DAY_S),
    lambda: broker.judge_cluster(CLUSTER, SETTINGS),
    lambda: broker.judge_cluster(CLUSTER, _settings(kafka={"group_protocol": "consumer"})),
    _in_group(GROUP),
    lambda: watching.judge(WATCHING),
    lambda: watching.judge(replace(WATCHING, taken=False, exported=None, collector="", collector_answers=False)),
]


@pytest.mark.parametrize("number", range(len(SOUND)))
def test_what_is_sound_has_no_finding(number: int) -> None:
    findings = list(SOUND[number]())
    assert findings
    assert {finding.mark for finding in findings} == {Mark.FINE}


#: What is broken: the finding's name, its mark, and what is judged.
BROKEN: list[tuple[str, Mark, Callable[[], Iterable[Finding]]]] = [
    ("python", Mark.ERROR, lambda: runtime.judge(replace(RUNTIME, python=(3, 10)), SETTINGS)),
    ("client", Mark.ERROR, lambda: runtime.judge(replace(RUNTIME, client_version="2.14.0"), SETTINGS)),
    ("client", Mark.ERROR, lambda: runtime.judge(replace(RUNTIME, lacking=("zstd",)), SETTINGS)),
    ("files", Mark.ERROR, lambda: runtime.judge(replace(RUNTIME, open_files=1_024), SETTINGS)),
    ("processors", Mark.WARNING, lambda: runtime.judge(RUNTIME, _settings(engine={"threads": 8}))),
    ("state", Mark.ERROR, lambda: runtime.judge(replace(RUNTIME, state_folder_problem="/state"), SETTINGS)),
    ("state", Mark.ERROR, lambda: runtime.judge(replace(RUNTIME, free_bytes=1 << 20), SETTINGS)),
    ("state", Mark.WARNING, lambda: runtime.judge(replace(RUNTIME, free_bytes=500 << 20), SETTINGS)),
    ("cuda", Mark.ERROR, lambda: device.judge(DEVICE, _settings(device="cuda:1"))),
    ("cuda", Mark.WARNING, lambda: device.judge(replace(DEVICE, gpus=0), SETTINGS)),
    ("bfloat16", Mark.ERROR, lambda: device.judge(replace(DEVICE, bfloat16=False), SETTINGS)),
    (
        "processor",
        Mark.WARNING,
        lambda: device.judge(replace(DEVICE, driver=False, gpus=0, processor_flags=frozenset({"sse2"})), SETTINGS),
    ),
    ("swap", Mark.WARNING, lambda: device.judge(replace(DEVICE, swap=True), SETTINGS)),
    ("files", Mark.ERROR, lambda: model.judge(replace(MODEL, problem="no model", model=None), SETTINGS)),
    ("files", Mark.ERROR, lambda: model.judge(_model(absent=("model-2.safetensors",)), SETTINGS)),
    ("template", Mark.ERROR, lambda: model.judge(_model(has_chat_template=False), SETTINGS)),
    ("context", Mark.ERROR, lambda: model.judge(_model(max_context_tokens=1_024), SETTINGS)),
    ("context", Mark.WARNING, lambda: model.judge(MODEL, _settings(engine={"max_context_tokens": 200}))),
    ("memory", Mark.ERROR, lambda: model.judge(replace(MODEL, memory_bytes=_GIB), SETTINGS)),
    ("memory", Mark.ERROR, lambda: model.judge(_model(cache_numbers_per_token=1_000_000), SETTINGS)),
    ("reachable", Mark.ERROR, lambda: broker.judge_listeners([Listener(address="a:1", problem="refused")])),
    (
        "tls",
        Mark.WARNING,
        lambda: broker.judge_listeners([Listener(address="a:1", certificate_ends=time.time() + 5 * _DAY_S)]),
    ),
    (
        "tls",
        Mark.ERROR,
        lambda: broker.judge_listeners([Listener(address="a:1", certificate_ends=time.time() - _DAY_S)]),
    ),
    ("client-certificate", Mark.ERROR, lambda: broker.judge_own_certificate(time.time() - _DAY_S)),
    (
        "answers",
        Mark.ERROR,
        lambda: broker.judge_cluster(ClusterFacts(problem=Missing(Code.BROKER_UNREACHABLE, "nobody")), SETTINGS),
    ),
    ("round-trip", Mark.WARNING, lambda: broker.judge_cluster(replace(CLUSTER, round_trip_s=0.3), SETTINGS)),
    ("transactions", Mark.ERROR, lambda: broker.judge_cluster(replace(CLUSTER, max_transaction_ms=5_000), SETTINGS)),
    (
        "failover",
        Mark.WARNING,
        lambda: broker.judge_cluster(CLUSTER, _settings(kafka={"session_timeout_ms": 45_000})),
    ),
    (
        "failover",
        Mark.WARNING,
        lambda: broker.judge_cluster(
            replace(CLUSTER, session_ms=45_000), _settings(kafka={"group_protocol": "consumer"})
        ),
    ),
    (
        "failover",
        Mark.ERROR,
        lambda: broker.judge_cluster(
            replace(CLUSTER, session_ms=None), _settings(kafka={"group_protocol": "consumer"})
        ),
    ),
    ("foreign", Mark.ERROR, _in_group(replace(GROUP, foreign_topics=("orders",)))),
    ("instance", Mark.WARNING, lambda: broker.judge_group(GROUP, "1-cpu")),
    (
        "unowned",
        Mark.WARNING,
        _in_group(replace(GROUP, status=_status(partitions=(PartitionStatus(0, None, 10, 12),)))),
    ),
    ("offsets", Mark.ERROR, _in_group(replace(GROUP, starts={0: 0, 1: 11}))),
    (
        "hanging",
        Mark.ERROR,
        _in_group(replace(GROUP, hanging=(Hanging(topic="t", partition=0, offset=3, seconds=99.0),))),
    ),
    ("static", Mark.WARNING, _in_group(replace(GROUP, instances=("bot-0-cpu", "bot-2-cpu")))),
    ("clock", Mark.WARNING, _in_group(replace(GROUP, ahead_s=5.0))),
    ("port", Mark.ERROR, lambda: watching.judge(replace(WATCHING, exported=None))),
    (
        "metrics",
        Mark.WARNING,
        lambda: watching.judge(replace(WATCHING, exported=frozenset({f"{PREFIX}_events"}))),
    ),
    ("traces", Mark.ERROR, lambda: watching.judge(replace(WATCHING, collector_answers=False))),
]


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=[f"{name}-{n}" for n, (name, _, _) in enumerate(BROKEN)])
def test_what_is_broken_is_the_one_finding(number: int) -> None:
    name, mark, judge = BROKEN[number]
    findings = [finding for finding in judge() if finding.mark is not Mark.FINE]
    assert [(finding.name, finding.mark) for finding in findings] == [(name, mark)]
    assert findings[0].why.endswith(".")
    assert findings[0].cure
    assert findings[0].docs.startswith("docs/operations/doctor.md#")


def test_it_says_how_long_nobody_answers_where_a_worker_dies() -> None:
    def said(**kafka: object) -> str:
        (found,) = (each for each in broker.judge_cluster(CLUSTER, _settings(kafka=kafka)) if each.name == "failover")
        return found.what

    assert "after 8 s (kafka.session_timeout_ms)" in said(session_timeout_ms=8_000)
    assert "after 6 s (the broker's group.consumer.session.timeout.ms)" in said(group_protocol="consumer")
    # The transaction's timeout, and the ten seconds between two looks of the broker.
    assert "holds readers up for 14 s" in said(transaction_timeout_ms=4_000)


def _bot(folder: Path, intents: str, learnt: str | None) -> Settings:
    (folder / "bot.yaml").write_text(f"bot: b\nunderstanding: heads\nfallback: {{reply: model}}\nintents: {intents}\n")
    if learnt is not None:
        (folder / "heads").mkdir()
        (folder / "heads" / "heads.json").write_text(learnt)
    return _settings(bots=[{"file": str(folder / "bot.yaml")}])


@pytest.mark.parametrize(
    ("intents", "learnt", "mark"),
    [
        ("{weather: {}}", '{"intents": ["weather"]}', Mark.FINE),
        ("{weather: {}}", None, Mark.ERROR),
        ("{weather: {}}", "{", Mark.ERROR),
        ("{weather: {}, music: {}}", '{"intents": ["weather"]}', Mark.ERROR),
        ("{weather: {}}", '{"intents": ["weather", "music"]}', Mark.WARNING),
        ("[", None, Mark.ERROR),
    ],
)
def test_a_bot_and_what_was_learnt_for_it(tmp_path: Path, intents: str, learnt: str | None, mark: Mark) -> None:
    findings = list(bots.check(_bot(tmp_path, intents, learnt)))
    assert findings[-1].mark is mark
    assert all(finding.mark is Mark.FINE for finding in findings[:-1])


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        ((), []),
        (("0-cpu", "1-cpu"), []),
        (("bot-2-cuda0", "bot-0-cuda0", "bot-0-cuda1"), ["bot-1-cuda0"]),
        (("1-auto",), ["0-auto"]),
        (("chosen-by-hand",), []),
    ],
)
def test_whose_number_is_left_out_is_missing(present: tuple[str, ...], missing: list[str]) -> None:
    assert broker.missing_members(present) == missing


EXAMPLES = (
    'version: "3.1"\nnlu:\n- intent: weather\n  examples: |\n    - will it rain today\n    - is it going to be sunny\n'
)


@pytest.mark.parametrize(
    ("written", "learnt_from", "languages", "expected"),
    [
        (EXAMPLES, EXAMPLES, "[en]", {"examples": Mark.FINE}),
        (EXAMPLES, EXAMPLES + "    - what about snow\n", "[en]", {"examples": Mark.WARNING}),
        ("nlu: [", EXAMPLES, "[en]", {"examples": Mark.ERROR}),
        (EXAMPLES, EXAMPLES, "[en, zh]", {"examples": Mark.FINE, "languages": Mark.WARNING}),
        (
            EXAMPLES + "    - 今天会下雨吗\n",
            EXAMPLES + "    - 今天会下雨吗\n",
            "[en, zh]",
            {"examples": Mark.FINE, "languages": Mark.FINE},
        ),
        (None, EXAMPLES, "[en]", {}),
    ],
)
def test_what_was_learnt_is_held_against_the_examples(
    tmp_path: Path, written: str | None, learnt_from: str, languages: str, expected: dict[str, Mark]
) -> None:
    digest = read_rasa_yaml(Path("nlu.yml"), learnt_from).hash
    settings = _bot(tmp_path, "{weather: {}}", f'{{"intents": ["weather"], "examples_hash": "{digest}"}}')
    with (tmp_path / "bot.yaml").open("a") as bot:
        bot.write(f"languages: {languages}\n")
    if written is not None:
        (tmp_path / "nlu.yml").write_text(written, encoding="utf-8")
    found = {finding.name: finding.mark for finding in bots.check(settings)}
    assert {name: mark for name, mark in found.items() if name not in ("files", "understanding")} == expected


def test_the_facts_of_this_machine_can_be_gathered() -> None:
    settings = _settings(device="cpu")
    assert list(runtime.judge(runtime.gather(settings), settings))
    assert list(device.judge(device.gather(settings), settings))
    facts = watching.gather(_settings(observability={"port": 0}))
    assert not facts.taken


def test_golden_conversations_must_have_passed_since_anything_of_the_bot_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "bot"
    folder.mkdir()
    settings = _bot(folder, "{weather: {}}", '{"intents": ["weather"]}')

    def marks() -> list[Mark]:
        return [finding.mark for finding in bots.check(settings) if finding.name == "conversations"]

    assert marks() == [], "there are none"
    said = folder / "tests" / "conversations" / "weather.yml"
    said.parent.mkdir(parents=True)
    said.write_text("conversation: weather\n")
    assert marks() == [Mark.WARNING]
    for changed in (said, folder / "bot.yaml", folder / "nlu.yml", said.with_name("more.yaml")):
        remember(folder)
        assert marks() == [Mark.FINE]
        changed.write_text((changed.read_text() if changed.exists() else "") + "# changed\n")
        assert marks() == [Mark.WARNING], changed.name
