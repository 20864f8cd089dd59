"""The cluster: listeners and their certificates, what the broker can do, topics, rights, and the group."""

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from stream_worker.doctor.finding import Finding, Group, Says
from stream_worker.errors import StreamWorkerError
from stream_worker.kafka.client_settings import longest_transaction_s
from stream_worker.kafka.cluster_facts import ClusterFacts, GroupFacts, group_facts
from stream_worker.kafka.listeners import Listener
from stream_worker.kafka.rights import User, rights
from stream_worker.kafka.rights_check import lacking_rights
from stream_worker.kafka.topic_admin import check as check_topics
from stream_worker.kafka.topic_admin import describe
from stream_worker.kafka.topic_check import Severity
from stream_worker.settings import Settings

_BROKER, _TOPICS, _RIGHTS, _GROUP = (Says(each) for each in (Group.BROKER, Group.TOPICS, Group.RIGHTS, Group.GROUP))
_DAY_S = 86_400.0
_SOON_DAYS = 14
_SLOW_S = 0.1
_SKEW_S = 1.0
_LONG_SESSION_MS = 20_000
#: `<instance>-<device>`, where the instance ends in its ordinal.
_NUMBERED = re.compile(r"(?P<before>(?:.*-)?)(?P<number>\d+)(?P<after>-[a-z]+\d*)")


def judge_listeners(found: Sequence[Listener]) -> Iterator[Finding]:
    for listener in found:
        if listener.problem:
            yield _BROKER.error(
                "reachable",
                f"{listener.address}: {listener.problem}",
                "A worker that starts, or reconnects, while the others are away finds nobody.",
                "check kafka.bootstrap_servers, firewalls and that a broker runs there",
            )
        elif listener.certificate_ends is None:
            yield _BROKER.fine("reachable", f"{listener.address} takes connections")
        else:
            yield _certificate("tls", f"the certificate of {listener.address}", listener.certificate_ends)


def judge_own_certificate(ends: float | None) -> Iterator[Finding]:
    if ends is not None:
        yield _certificate("client-certificate", "our client certificate", ends)


def _certificate(name: str, whose: str, ends: float) -> Finding:
    days = (ends - time.time()) / _DAY_S
    why = "After its end no connection is made."
    if days < 0:
        return _BROKER.error(name, f"{whose} ended {-days:.0f} days ago", why, "renew it, then restart the workers")
    if days < _SOON_DAYS:
        return _BROKER.warning(name, f"{whose} ends in {days:.0f} days", why, "renew it, then restart the workers")
    return _BROKER.fine(name, f"{whose} is good for {days:.0f} days")


def judge_cluster(facts: ClusterFacts, settings: Settings) -> Iterator[Finding]:
    if facts.problem is not None:
        yield _BROKER.error(
            "answers",
            str(facts.problem),
            "Nothing works without a broker that lets us in.",
            "check kafka.bootstrap_servers, and in kafka.client security.protocol, sasl.* and ssl.*",
        )
        return
    trip = f"{facts.round_trip_s * 1000:.0f} ms"
    if facts.round_trip_s > _SLOW_S:
        yield _BROKER.warning(
            "round-trip",
            f"{facts.brokers} brokers answer, the round trip is {trip}",
            "Every transaction takes several round trips, and replies wait for it.",
            "run the workers near the brokers",
        )
    else:
        yield _BROKER.fine("round-trip", f"{facts.brokers} brokers answer, the round trip is {trip}")
    ours, most = settings.kafka.transaction_timeout_ms, facts.max_transaction_ms
    if most is not None and most < ours:
        yield _BROKER.error(
            "transactions",
            f"the broker's transaction.max.timeout.ms is {most}, kafka.transaction_timeout_ms is {ours}",
            "The worker stops at its start: the broker refuses its producer.",
            f"set kafka.transaction_timeout_ms: {most}",
        )
    elif most is None:
        yield _BROKER.skipped("transactions", "we may not see the broker's configuration")
    else:
        protocols = "classic and KIP-848" if facts.session_ms is not None else "classic"
        yield _BROKER.fine("transactions", f"transactions up to {most} ms; group protocols: {protocols}")
    yield _failover(facts, settings)


def _failover(facts: ClusterFacts, settings: Settings) -> Finding:
    """How long nobody answers where a worker dies and does not come back."""
    if settings.kafka.group_protocol == "classic":
        session_ms, whose = settings.kafka.session_timeout_ms, "kafka.session_timeout_ms"
    elif facts.session_ms is not None:
        session_ms, whose = facts.session_ms, "the broker's group.consumer.session.timeout.ms"
    elif facts.max_transaction_ms is None:
        return _BROKER.skipped("failover", "we may not see the broker's configuration, which decides on sessions")
    else:
        return _BROKER.error(
            "failover",
            "kafka.group_protocol is consumer, and this broker has no KIP-848",
            "The worker can join no group.",
            "set kafka.group_protocol: classic, or upgrade the brokers to 4.0",
        )
    open_s = longest_transaction_s(settings)
    what = (
        f"a worker that dies and stays away is replaced after {session_ms / 1000:g} s ({whose}) and a rebalance; "
        f"a transaction that it left open holds readers up for {open_s:g} s at most"
    )
    if session_ms > _LONG_SESSION_MS:
        return _BROKER.warning(
            "failover", what, "Nobody is answered meanwhile in its conversations.", f"lower {whose} to 6000"
        )
    return _BROKER.fine("failover", what)


def check_topic_group(admin: Any, settings: Settings) -> Iterator[Finding]:
    found = check_topics(admin, settings)
    for each in found:
        make = _TOPICS.error if each.severity is Severity.ERROR else _TOPICS.warning
        yield make("topic", f"{each.topic}: {each.what}", each.why, each.cure)
    events = settings.topics.events
    facts = describe(admin, [events]).get(events)
    age = settings.admission.max_event_age_ms
    if facts is not None and 0 <= facts.number("retention.ms") < age:
        yield _TOPICS.warning(
            "retention",
            f"{events}: retention.ms is {facts.number('retention.ms')}, admission.max_event_age_ms is {age}",
            "Events are deleted before they are too old to be answered.",
            f"kafka-configs.sh --alter --entity-type topics --entity-name {events} --add-config retention.ms={age}",
        )
    elif not found:
        yield _TOPICS.fine("topic", "all topics are as they should be")


def check_rights(admin: Any, settings: Settings) -> Iterator[Finding]:
    lacking = lacking_rights(admin, rights(settings, User.WORKER))
    for each in lacking:
        yield _RIGHTS.error(
            "right",
            f"we may not {each}",
            f"The worker ends with SW-K004: {each.why}.",
            each.allow("User:NAME", settings.kafka.bootstrap_servers),
        )
    if not lacking:
        yield _RIGHTS.fine("right", "topics and group may be read and written as needed")


def check_group(admin: Any, settings: Settings, member: str | None) -> Iterator[Finding]:
    try:
        facts = group_facts(admin, settings)
    except StreamWorkerError as error:
        yield _GROUP.skipped("members", str(error))
        return
    yield from judge_group(facts, member)


def judge_group(facts: GroupFacts, member: str | None) -> Iterator[Finding]:
    """`member` is the name that a worker of these settings has in the group; None where it has none of its own."""
    status = facts.status
    if facts.foreign_topics:
        yield _GROUP.error(
            "foreign",
            f"members of the group {status.group} read {', '.join(facts.foreign_topics)}, too",
            "Another application uses our group: each takes partitions from the other.",
            "choose another application_id, or give the other application another group",
        )
    else:
        yield _GROUP.fine("members", f"group {status.group}: {status.state}, {status.members} members")
    if member is not None and member in facts.instances:
        yield _GROUP.warning(
            "instance",
            f"a worker named {member} is running",
            "Two of one name fence each other. It is well if it is this one.",
            "give each process its own --instance",
        )
    if status.members and (free := [each.partition for each in status.partitions if each.owner is None]):
        yield _GROUP.warning(
            "unowned",
            f"{len(free)} partitions have no owner: {', '.join(map(str, free[:8]))}",
            "Their conversations are not answered. During a rebalance that is so for seconds.",
            "stream-worker status",
        )
    if absent := missing_members(facts.instances):
        yield _GROUP.warning(
            "static",
            f"{len(absent)} static members are missing: {', '.join(absent[:8])}",
            "Their partitions wait for them until the session ends, then go to the others, who carry more.",
            "look at why these processes do not run: kubectl get pods, or the end of their log",
        )
    yield from _offsets(facts)
    for hanging in facts.hanging:
        yield _GROUP.error(
            "hanging",
            f"an open transaction holds {hanging.topic} partition {hanging.partition} up at offset {hanging.offset}, "
            f"for {hanging.seconds:.0f} s",
            "Nobody who reads committed records gets past it: no restore ends, and no event is answered.",
            f"kafka-transactions.sh find-hanging --topic {hanging.topic} --partition {hanging.partition}, then abort",
        )
    if not facts.hanging:
        yield _GROUP.fine("hanging", "no transaction hangs")
    if facts.ahead_s > _SKEW_S:
        yield _GROUP.warning(
            "clock",
            f"the newest event lies {facts.ahead_s:.1f} s in our future",
            "Waiting times, expiry and hand-over times are wrong by as much.",
            "let all machines keep time by NTP",
        )


def missing_members(instances: Sequence[str]) -> list[str]:
    """Names left out of a row of numbered ones, as a StatefulSet numbers them: beside a-0-cpu and a-2-cpu, a-1-cpu."""
    rows: dict[tuple[str, str], set[int]] = {}
    for name in instances:
        if (found := _NUMBERED.fullmatch(name)) is not None:
            rows.setdefault((found["before"], found["after"]), set()).add(int(found["number"]))
    return [
        f"{before}{number}{after}"
        for (before, after), numbers in sorted(rows.items())
        for number in range(max(numbers))
        if number not in numbers
    ]


def _offsets(facts: GroupFacts) -> Iterator[Finding]:
    below = [
        each.partition
        for each in facts.status.partitions
        if each.committed is not None and each.committed < facts.starts.get(each.partition, 0)
    ]
    if below:
        yield _GROUP.error(
            "offsets",
            f"the group's offset lies below the start of partitions {', '.join(map(str, below[:8]))}",
            "Events were deleted before they were answered; the worker refuses these partitions (SW-K013).",
            "kafka-consumer-groups.sh --reset-offsets --to-earliest --execute for them, while no worker runs",
        )
    else:
        yield _GROUP.fine("offsets", "every offset of the group lies within its partition")
