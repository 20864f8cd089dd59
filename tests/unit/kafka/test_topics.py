"""The table of topics, and what is found wrong with those of a cluster."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.kafka.topic_check import Finding, Severity, TopicFacts, find, nearest_topic
from stream_worker.kafka.topics import DAY_MS, RECORD_MAX_BYTES, Role, TopicSpec, topic_table, written_topics
from stream_worker.settings import Settings

SETTINGS = Settings.model_validate({"application_id": "shop", "topics": {"partitions": 12}})
TABLE = {spec.role: spec for spec in topic_table(SETTINGS)}


def as_specified(spec: TopicSpec) -> TopicFacts:
    defaults = {"message.timestamp.type": "CreateTime"}
    return TopicFacts(spec.partitions, spec.replication_factor, {**defaults, **spec.config})


def findings(changed: Role | None = None, **changes: str | int) -> list[Finding]:
    """What is found when everything is as specified, but for one topic's counts, or its settings (names with dots)."""
    facts = {spec.name: as_specified(spec) for spec in TABLE.values()}
    if changed is not None:
        name = TABLE[changed].name
        config = {key: str(value) for key, value in changes.items() if "." in key}
        counts = {key: int(value) for key, value in changes.items() if "." not in key}
        partitions = counts.get("partitions", facts[name].partitions)
        copies = counts.get("replication_factor", facts[name].replication_factor)
        facts[name] = TopicFacts(partitions, copies, {**facts[name].config, **config})
    return find(tuple(TABLE.values()), facts, "broker:9092")


@given(partitions=st.integers(1, 10_000))
def test_state_lives_in_as_many_partitions_as_the_input(partitions: int) -> None:
    settings = Settings.model_validate({"topics": {"partitions": partitions}})
    table = {spec.role: spec for spec in topic_table(settings)}
    assert table[Role.EVENTS].partitions == table[Role.CHANGELOG].partitions == partitions
    assert all(1 <= spec.partitions <= partitions for spec in table.values())


def test_each_role_has_one_topic_with_its_own_name() -> None:
    assert set(TABLE) == set(Role)
    assert len({spec.name for spec in TABLE.values()}) == len(Role)


def test_a_shadow_reads_the_same_input_and_writes_elsewhere() -> None:
    shadow = Settings.model_validate({"application_id": "shadow", "outputs": {"prefix": "shadow."}})
    original = Settings.model_validate({})
    assert shadow.topics.events == original.topics.events
    assert not set(written_topics(shadow)) & set(written_topics(original))


def test_only_the_changelog_is_compacted() -> None:
    compacted = {role for role, spec in TABLE.items() if spec.config["cleanup.policy"] == "compact"}
    assert compacted == {Role.CHANGELOG}


def test_a_dead_letter_of_the_largest_event_fits() -> None:
    limit = int(TABLE[Role.DEAD_LETTERS].config["max.message.bytes"])
    assert limit - int(TABLE[Role.EVENTS].config["max.message.bytes"]) == 64 * 1024


def test_topics_that_are_as_the_table_says_have_no_finding() -> None:
    assert findings() == []


def test_every_missing_topic_is_found() -> None:
    missing = find(tuple(TABLE.values()), {}, "broker:9092")
    assert [finding.topic for finding in missing] == [spec.name for spec in TABLE.values()]
    assert {finding.cure for finding in missing} == {"stream-worker topics create"}


@pytest.mark.parametrize(
    ("role", "changes", "severity", "cure"),
    [
        (Role.EVENTS, {"cleanup.policy": "compact,delete"}, Severity.ERROR, "cleanup.policy=delete"),
        (Role.EVENTS, {"message.timestamp.type": "CreateTime"}, Severity.WARNING, "type=LogAppendTime"),
        (Role.REPLIES, {"cleanup.policy": "compact"}, Severity.ERROR, "cleanup.policy=delete"),
        (Role.REPLIES, {"min.insync.replicas": 1}, Severity.WARNING, "min.insync.replicas=2"),
        (Role.REPLIES, {"min.insync.replicas": 4}, Severity.ERROR, "min.insync.replicas=3"),
        (Role.REPLIES, {"replication_factor": 2}, Severity.WARNING, "kafka-reassign-partitions.sh"),
        (Role.DEAD_LETTERS, {"max.message.bytes": RECORD_MAX_BYTES}, Severity.WARNING, "max.message.bytes=1114124"),
        (Role.CHANGELOG, {"cleanup.policy": "compact,delete"}, Severity.ERROR, "cleanup.policy=compact"),
        (Role.CHANGELOG, {"partitions": 6}, Severity.ERROR, "stream-worker topics create"),
        (Role.CHANGELOG, {"segment.ms": 7 * DAY_MS}, Severity.WARNING, f"segment.ms={DAY_MS}"),
        (Role.CHANGELOG, {"max.compaction.lag.ms": 2**63 - 1}, Severity.WARNING, f"lag.ms={DAY_MS}"),
        (Role.CHANGELOG, {"delete.retention.ms": 1_000}, Severity.WARNING, f"retention.ms={DAY_MS}"),
    ],
)
def test_one_thing_wrong_is_one_finding_with_its_cure(
    role: Role, changes: dict[str, str | int], severity: Severity, cure: str
) -> None:
    [finding] = findings(role, **changes)
    assert (finding.topic, finding.severity) == (TABLE[role].name, severity)
    assert cure in finding.cure


def test_more_input_partitions_than_configured_also_break_the_changelog() -> None:
    found = findings(Role.EVENTS, partitions=24)
    assert [(finding.topic, finding.severity) for finding in found] == [
        (TABLE[Role.EVENTS].name, Severity.WARNING),
        (TABLE[Role.CHANGELOG].name, Severity.ERROR),
    ]


def test_dead_letters_are_measured_against_the_input_as_it_is() -> None:
    [finding] = findings(Role.EVENTS, **{"max.message.bytes": 5_000_000})
    assert finding.topic == TABLE[Role.DEAD_LETTERS].name
    assert "max.message.bytes=5065536" in finding.cure


NAMES = st.text("abcdefghijklmnopqrstuvwxyz.-0123456789", min_size=8, max_size=40)


@given(name=NAMES, at=st.integers(0, 39), slip=st.sampled_from(["drop", "double", "swap"]))
def test_one_slip_in_a_name_finds_the_topic(name: str, at: int, slip: str) -> None:
    at %= len(name) - 1
    pieces = {
        "drop": (name[:at], name[at + 1 :]),
        "double": (name[: at + 1], name[at:]),
        "swap": (name[:at], name[at + 1], name[at], name[at + 2 :]),
    }
    assert nearest_topic("".join(pieces[slip]), [name, "quite-another", "__consumer_offsets"]) == name


@pytest.mark.parametrize("meant", ["shop.chat.events", "events", "chat.replies", "__consumer_offset"])
def test_another_applications_topics_and_kafkas_own_are_not_what_was_meant(meant: str) -> None:
    known = ["chat.events", "demo.chat.events", "chat.metrics", "__consumer_offsets"]
    assert nearest_topic(meant, known) is None


def test_a_misspelt_topic_names_the_nearest_one_on_the_cluster() -> None:
    specs = [TABLE[Role.EVENTS], TABLE[Role.REPLIES]]
    facts = {specs[1].name: as_specified(specs[1])}
    (finding,) = find(specs, facts, "broker:9092", ["caht.events", "chat.replies"])
    assert finding.what == "The topic does not exist; did you mean caht.events?"
    assert finding.cure == "name caht.events in stream-worker.yaml, or run stream-worker topics create"
    # What this application has already is not what it lacks.
    (finding,) = find(specs, facts, "broker:9092", [specs[1].name])
    assert (finding.what, finding.cure) == ("The topic does not exist", "stream-worker topics create")
