"""Topics on a cluster: made where they are missing, described, measured, and given more partitions."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, ResourceType, TopicMetadata

from stream_worker.errors import Code, Misconfigured, Missing
from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.clients import make_admin
from stream_worker.kafka.faults import beyond_repair, translated
from stream_worker.kafka.topic_check import Finding, Severity, TopicFacts, find, nearest_topic
from stream_worker.kafka.topic_lookup import described, partitions_of, topic_names
from stream_worker.kafka.topics import TopicSpec, topic_table
from stream_worker.settings import Settings

_CALL_TIMEOUT_S = 8.0
_VISIBLE_DEADLINE_S = 15.0

T = TypeVar("T")


class Creation(StrEnum):
    """What became of one topic."""

    CREATED = "created"
    WOULD_BE_CREATED = "would_be_created"
    EXISTS = "exists"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CreationReport:
    topic: str
    """Its name."""

    result: Creation
    """What became of it."""

    detail: str
    """Its size, or why it failed."""


def connect(settings: Settings) -> AdminClient:
    """An administrator's client; it connects when it is first used."""
    return make_admin(admin_settings(settings))


def create(admin: AdminClient, specs: Sequence[TopicSpec], *, dry_run: bool = False) -> list[CreationReport]:
    """Creates what is missing and says of each topic what became of it; with `dry_run` the broker only validates.

    When it returns, every created topic can be written to. Raises Missing when no broker answers.
    """
    requests = [
        NewTopic(spec.name, spec.partitions, spec.replication_factor, config=dict(spec.config)) for spec in specs
    ]
    futures = admin.create_topics(
        requests, operation_timeout=_CALL_TIMEOUT_S, request_timeout=_CALL_TIMEOUT_S, validate_only=dry_run
    )
    made = Creation.WOULD_BE_CREATED if dry_run else Creation.CREATED
    reports = [_report(spec, futures[spec.name], made) for spec in specs]
    _await_leaders(admin, [report.topic for report in reports if report.result is Creation.CREATED])
    return reports


def grow(admin: AdminClient, topic: str, partitions: int) -> None:
    """Gives a topic so many partitions; when it returns, each can be written to. One that has them stays as it is.

    Raises Missing when no broker answers, Fatal without the rights, Misconfigured where the cluster refuses the count.
    """
    if len(partitions_of(admin, topic)) >= partitions:
        return
    (future,) = admin.create_partitions(
        [NewPartitions(topic, partitions)], operation_timeout=_CALL_TIMEOUT_S, request_timeout=_CALL_TIMEOUT_S
    ).values()
    try:
        future.result()
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        if _unanswered(error) or beyond_repair(error) is not None:
            raise translated(error, topic) from exception
        raise Misconfigured(
            Code.TOPIC_MISMATCH, f"{topic} cannot have {partitions} partitions ({error.name()}): {error.str()}"
        ) from exception
    _await(
        admin,
        lambda: _led_partitions(described(admin, topic)[topic]) >= partitions,
        f"{topic} has {partitions} partitions, but not a leader of each",
    )


def check(admin: AdminClient, settings: Settings) -> list[Finding]:
    """What is wrong with this application's topics. Raises Missing when no broker answers."""
    specs = topic_table(settings)
    facts = describe(admin, [spec.name for spec in specs])
    others = topic_names(admin) if len(facts) < len(specs) else ()
    return find(specs, facts, settings.kafka.bootstrap_servers, others)


def describe(admin: AdminClient, names: Sequence[str]) -> dict[str, TopicFacts]:
    """The topics of these names as they are; those that do not exist are left out."""
    descriptions = admin.describe_topics(TopicCollection(list(names)), request_timeout=_CALL_TIMEOUT_S)
    found = {}
    for name in names:
        if (description := _unless_missing(descriptions[name])) is not None:
            partitions = description.partitions
            found[name] = (len(partitions), min(len(partition.replicas) for partition in partitions))
    # One that was deleted between the two questions is left out, too.
    configs = _configs(admin, list(found))
    return {name: TopicFacts(*found[name], config) for name, config in configs.items()}


def facts_to_start(admin: AdminClient, settings: Settings) -> dict[str, TopicFacts]:
    """Every topic of this application, as it is.

    Raises Missing where there is none, Misconfigured where one is so that state or events would be lost.
    """
    specs = topic_table(settings)
    facts = describe(admin, [spec.name for spec in specs])
    servers = settings.kafka.bootstrap_servers
    if missing := [spec.name for spec in specs if spec.name not in facts]:
        raise Missing(Code.TOPIC_MISSING, _missing(missing, topic_names(admin), servers))
    for finding in find(specs, facts, servers):
        if finding.severity is Severity.ERROR:
            raise Misconfigured(
                Code.TOPIC_MISMATCH,
                f"{finding.topic}: {finding.what}. {finding.why} What cures it: {finding.cure}",
            )
    return facts


def _missing(missing: Sequence[str], known: Sequence[str], servers: str) -> str:
    others = [name for name in known if name not in missing]
    found = [(name, nearest) for name in missing if (nearest := nearest_topic(name, others))]
    meant = "".join(f"; for {name}, did you mean {nearest}?" for name, nearest in found)
    return f"{', '.join(missing)} missing on {servers}: run `stream-worker topics create`{meant}"


def _report(spec: TopicSpec, future: "Future[None]", made: Creation) -> CreationReport:
    size = f"{spec.partitions} partitions, {spec.replication_factor} copies"
    try:
        future.result()
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        if error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return CreationReport(spec.name, Creation.EXISTS, "left as it is")
        if _unanswered(error):
            raise translated(error) from exception
        detail = f"{error.str()} ({error.name()})"
        if error.code() == KafkaError.INVALID_REPLICATION_FACTOR:
            detail += "; lower topics.replication_factor and topics.min_insync_replicas"
        return CreationReport(spec.name, Creation.FAILED, detail)
    return CreationReport(spec.name, made, size)


def _await_leaders(admin: AdminClient, names: Sequence[str]) -> None:
    """A topic is created before every broker knows of it; a producer would be told that it does not exist."""
    wanted = set(names)
    _await(admin, lambda: wanted <= _led_topics(admin), f"{', '.join(sorted(wanted))} created, but without a leader")


def _await(admin: AdminClient, condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _VISIBLE_DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise Missing(Code.TOPIC_MISSING, f"{what} after {_VISIBLE_DEADLINE_S:.0f} s")
        admin.poll(0.05)


def _led_partitions(topic: TopicMetadata) -> int:
    return sum(partition.leader >= 0 for partition in topic.partitions.values())


def _led_topics(admin: AdminClient) -> set[str]:
    """The names of the topics whose partitions all have a leader."""
    return {name for name, topic in described(admin).items() if _led_partitions(topic) == len(topic.partitions)}


def _configs(admin: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    futures = admin.describe_configs(resources, request_timeout=_CALL_TIMEOUT_S)
    answers = {resource.name: _unless_missing(future) for resource, future in futures.items()}
    return {
        name: {entry.name: entry.value for entry in answer.values()}
        for name, answer in answers.items()
        if answer is not None
    }


def _unless_missing(future: "Future[T]") -> T | None:
    """The answer; None where the topic is not there."""
    try:
        return _result(future)
    except Missing as error:
        if error.code is not Code.TOPIC_MISSING:
            raise
        return None


def _result(future: "Future[T]") -> T:
    try:
        return future.result()
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        raise translated(error) from exception


def _unanswered(error: KafkaError) -> bool:
    """Whether the client gave up, rather than a broker said no: librdkafka's own codes are negative."""
    return error.code() < 0
