"""What an operator asks of a cluster: doctor, status, lag, a conversation, a bundle; each sees what is broken."""

import json
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from stream_worker.doctor.examination import examine
from stream_worker.doctor.finding import Finding, Group, Mark
from stream_worker.embedded.broker import EmbeddedBroker
from stream_worker.kafka.client_settings import transaction_settings
from stream_worker.kafka.conversation_reading import turns_of, view_conversation
from stream_worker.kafka.topic_admin import connect, create
from stream_worker.kafka.topics import topic_table
from stream_worker.settings import Settings
from tests.eventually import eventually
from tests.kafka.cluster import QUICK, Cluster
from tests.kafka.conftest import SettingsFor, unique_settings
from tests.settings_file import written

ROOT = Path(__file__).parents[2]
CANARY = "canary-9c41"
PASSWORD = "password-77aa"
_ON_CLUSTER = (Group.BROKER, Group.TOPICS, Group.RIGHTS, Group.GROUP)
_CALL_S = 10.0


def findings(settings: Settings, *groups: Group, write_probe: bool = False) -> list[Finding]:
    """All that are not fine."""
    examined = examine(settings, groups or _ON_CLUSTER, write_probe=write_probe)
    found = [finding for each in examined for finding in each.findings if finding.mark is not Mark.FINE]
    # How quick the broker is, is the machine's doing.
    return [finding for finding in found if finding.name != "round-trip"]


def names(found: Sequence[Finding]) -> list[str]:
    return [finding.name for finding in found]


def run(settings: Settings, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    written(settings, folder)
    return subprocess.run(
        [sys.executable, "-m", "stream_worker", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_doctor_finds_nothing_wrong_with_a_sound_installation(settings_for: SettingsFor) -> None:
    settings = settings_for(kafka=QUICK)
    with Cluster(settings) as cluster:
        cluster.start()
        cluster.events.say("c-0")
        cluster.run_until_settled()
        cluster.run_until_committed()
        assert findings(settings, write_probe=True) == []
    by_the_broker = settings.model_copy(
        update={"kafka": settings.kafka.model_copy(update={"group_protocol": "consumer"})}
    )
    (broker,) = examine(by_the_broker, (Group.BROKER,), write_probe=False)
    (failover,) = (each for each in broker.findings if each.name == "failover")
    assert failover.mark is Mark.FINE
    assert "after 6 s" in failover.what, "as the embedded broker is set up"


def test_the_write_probe_leaves_nothing_behind(settings_for: SettingsFor) -> None:
    settings = settings_for()
    with Cluster(settings) as cluster:
        assert findings(settings, Group.BROKER, write_probe=True) == []
        assert cluster.outputs.dead_letter_headers == []


def test_doctor_sees_a_broker_that_is_not_there() -> None:
    settings = Settings.model_validate({"kafka": {"bootstrap_servers": "127.0.0.1:9"}})
    found = findings(settings)
    assert [(each.name, each.mark) for each in found] == [
        ("reachable", Mark.ERROR),
        ("broker", Mark.SKIPPED),
        ("broker", Mark.SKIPPED),
        ("broker", Mark.SKIPPED),
    ]


def test_doctor_sees_that_the_broker_refuses_our_login(settings_for: SettingsFor) -> None:
    settings = settings_for(
        kafka={
            "client": {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "shop",
                "sasl.password": PASSWORD,
            }
        },
        create_topics=False,
    )
    (found,) = findings(settings, Group.BROKER)
    assert (found.name, found.mark) == ("answers", Mark.ERROR)
    assert PASSWORD not in str(found)


READS, WRITES = AclOperation.READ, AclOperation.WRITE


#: What has no access control list is open to everybody.
MINDS_RIGHTS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Topics on a broker that minds access control lists."""
    with EmbeddedBroker(tmp_path_factory.mktemp("strict"), properties=MINDS_RIGHTS) as broker:
        settings = unique_settings(broker.bootstrap_servers, partitions=2)
        create(connect(settings), topic_table(settings))
        # Of a group that is not there nobody is told what they may.
        eventually(lambda: findings(settings, Group.RIGHTS) == [], 20)
        member = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": settings.application_id})
        member.commit(offsets=[TopicPartition(settings.topics.events, 0, 0)], asynchronous=False)
        member.close()
        yield settings


@contextmanager
def forbidden(settings: Settings, kind: ResourceType, name: str, operation: AclOperation) -> Iterator[None]:
    """Everything else is allowed of what begins so."""
    admin, pattern = connect(settings), ResourcePatternType.PREFIXED
    nobody = [
        AclBinding(kind, name, pattern, "User:ANONYMOUS", "*", *each)
        for each in ((AclOperation.ALL, AclPermissionType.ALLOW), (operation, AclPermissionType.DENY))
    ]
    for future in admin.create_acls(nobody).values():
        future.result(_CALL_S)
    try:
        yield
    finally:
        of_it = AclBindingFilter(kind, name, pattern, "User:ANONYMOUS", "*", AclOperation.ANY, AclPermissionType.ANY)
        for gone in admin.delete_acls([of_it]).values():
            gone.result(_CALL_S)


def test_doctor_sees_each_right_that_is_lacking(strict: Settings) -> None:
    group, topic = ResourceType.GROUP, ResourceType.TOPIC
    events, letters = strict.topics.events, strict.output_topic(strict.topics.dead_letters)
    assert findings(strict, Group.RIGHTS) == []
    for kind, name, operation in (
        (topic, events, READS),
        (topic, letters, WRITES),
        (topic, strict.changelog, READS),
        (topic, strict.changelog, WRITES),
        (group, strict.application_id, READS),
    ):
        with forbidden(strict, kind, name, operation):
            (found,) = eventually(lambda: findings(strict, Group.RIGHTS), 10)
            assert (found.name, found.mark) == ("right", Mark.ERROR)
            assert f"{operation.name} on {kind.name.lower()} {name}" in found.what
            assert f"--operation {operation.name.title()}" in found.cure
        eventually(lambda: findings(strict, Group.RIGHTS) == [], 10)


def test_doctor_sees_that_the_transactional_id_is_forbidden(strict: Settings) -> None:
    """Nobody can ask for that right: the write probe tries it."""
    ids = ResourceType.TRANSACTIONAL_ID
    assert findings(strict, Group.BROKER, write_probe=True) == []
    with forbidden(strict, ids, strict.application_id, WRITES):
        found = eventually(lambda: findings(strict, Group.BROKER, write_probe=True), 10)
        assert names(found) == ["write-probe"]


def test_doctor_sees_a_retention_that_is_shorter_than_the_age_of_events(settings_for: SettingsFor) -> None:
    settings = settings_for(admission={"max_event_age_ms": 30 * 86_400_000})
    assert names(findings(settings, Group.TOPICS)) == ["retention"]


def test_doctor_sees_a_transaction_that_nobody_ended(settings_for: SettingsFor) -> None:
    settings = settings_for()
    producer = Producer(transaction_settings(settings, f"dead-{uuid.uuid4().hex[:8]}", 1_000_000))
    producer.init_transactions(_CALL_S)
    producer.begin_transaction()
    an_hour_ago = int(time.time() * 1000) - 3_600_000
    producer.produce(settings.changelog, b"{}", b"c/x", partition=1, timestamp=an_hour_ago)
    producer.flush(_CALL_S)
    (found,) = findings(settings, Group.GROUP)
    assert (found.name, found.mark) == ("hanging", Mark.ERROR)
    assert settings.changelog in found.what
    producer.abort_transaction(_CALL_S)
    assert findings(settings, Group.GROUP) == []


def test_the_turns_of_a_conversation_are_explained(settings_for: SettingsFor) -> None:
    settings = settings_for(kafka=QUICK)
    with Cluster(settings) as cluster:
        cluster.start()
        for conversation in ("c-0", "c-1", "c-0"):
            cluster.events.say(conversation, CANARY)
        cluster.run_until_settled()
        turns = turns_of(settings, "c-0", 5, 1_000)
        assert len(turns) == 2
        assert all(turn["decision"] and turn["seconds"] > 0 for turn in turns)
        assert CANARY not in str(turns)


def test_lag_and_status_tell_how_far_behind_it_is(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(partitions=2, kafka=QUICK)
    with Cluster(settings) as cluster:
        cluster.start()
        cluster.events.say("c-0")
        cluster.run_until_settled()
        cluster.run_until_committed()
        cluster.stop()
        cluster.events.say("c-0")
    done = run(settings, tmp_path, "lag", "-o", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["lag"] == 1
    assert max(each["waiting_s"] for each in found["partitions"]) > 0
    watched = run(settings, tmp_path, "status", "-w", "--exit-when-healthy", "--timeout", "2")
    assert watched.returncode == 1
    assert "partitions without an owner: 0, 1" in watched.stderr


def test_status_ends_as_soon_as_the_group_is_healthy(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(partitions=2, kafka=QUICK)
    with Cluster(settings) as cluster:
        cluster.start()
        cluster.events.say("c-0")
        cluster.run_until_settled()
        cluster.run_until_committed()
        command = [sys.executable, "-m", "stream_worker", "status", "-w", "--exit-when-healthy", "--timeout", "30"]
        written(settings, tmp_path)
        child = subprocess.Popen(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
        cluster.run_until(lambda: child.poll() is not None, "status ends", 40.0)
        assert child.returncode == 0


def test_a_bundle_holds_no_secret_and_no_text(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(kafka={**QUICK, "client": {"sasl.password": PASSWORD}})
    with Cluster(settings) as cluster:
        cluster.start()
        cluster.events.say("c-0", CANARY)
        cluster.run_until_settled()
        cluster.run_until_committed()
    log = tmp_path / "worker.log"
    lines = [{"event": "replied", "text": CANARY, "turn": "t-1"}, {"event": "odd", "detail": PASSWORD}]
    log.write_bytes(b"\n".join([*map(orjson.dumps, lines), f"a traceback with {CANARY}".encode()]))
    done = run(settings, tmp_path, "debug", "bundle", "--output", "b.zip", "--log", "worker.log")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert all(content for content in contents.values())
    whole = b"\n".join(contents.values())
    assert CANARY.encode() not in whole
    assert PASSWORD.encode() not in whole
    assert json.loads(contents["settings.json"])["settings"]["kafka"]["client"]["sasl.password"] == "***"
    assert json.loads(contents["group.json"])["partitions"][0]["ledger"]["term"] == 1
    assert b'"replied"' in contents["log.jsonl"]
    assert b"left out" in contents["log.jsonl"]
    again = run(settings, tmp_path, "debug", "bundle", "--output", "b.zip")
    assert again.returncode == 2


@pytest.mark.parametrize("output", ["table", "jsonl"])
def test_tail_follows_what_is_published(settings_for: SettingsFor, tmp_path: Path, output: str) -> None:
    settings = settings_for(kafka=QUICK)
    with Cluster(settings) as cluster:
        cluster.start()
        written(settings, tmp_path)
        command = [sys.executable, "-m", "stream_worker", "tail", "--limit", "3", "--timeout", "60", "-o", output]
        with (tmp_path / "out").open("wb") as out:
            child = subprocess.Popen(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, stdout=out)

        def said_until_it_ends() -> bool:
            cluster.events.say("c-0", CANARY)
            return child.poll() is not None

        cluster.run_until(said_until_it_ends, "three records were shown", 60.0)
        assert child.returncode == 0
    shown = (tmp_path / "out").read_text()
    head = 1 if output == "table" else 0
    assert len(shown.splitlines()) == head + 3
    assert "c-0" in shown
    assert CANARY not in shown


def test_nothing_is_connected_to_for_a_client_that_only_describes(settings_for: SettingsFor) -> None:
    """The commands join no group: the group's members stay what they were."""
    settings = settings_for(kafka=QUICK)
    with Cluster(settings) as cluster:
        cluster.start()
        cluster.events.say("c-0")
        cluster.run_until_settled()
        group, admin = settings.application_id, connect(settings)
        before = admin.describe_consumer_groups([group])[group].result()
        findings(settings)
        view_conversation(settings, "c-0")
        after = admin.describe_consumer_groups([group])[group].result()
        assert [member.member_id for member in before.members] == [member.member_id for member in after.members]
