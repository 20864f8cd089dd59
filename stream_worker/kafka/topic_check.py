"""What is wrong with the topics of a cluster, why it matters, and the command that cures it. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rapidfuzz import process
from rapidfuzz.distance import OSA

from stream_worker.kafka.topics import DAY_MS, DEAD_LETTER_EXTRA_BYTES, LEAST_MAX_BYTES, Role, TopicSpec

_LEAST_LIKENESS = 0.8
"""Of two names, 1 being the same: two slips in `chat.events`, but not the topic of another application."""


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a person should change."""

    severity: Severity
    """An error keeps a worker from starting, or loses something; a warning does not."""

    topic: str
    """Its name."""

    what: str
    """What is wrong."""

    why: str
    """Why it matters."""

    cure: str
    """The command, or the change of a setting, that cures it."""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as the cluster describes it."""

    partitions: int
    replication_factor: int
    config: Mapping[str, str]

    def number(self, name: str) -> int:
        return int(self.config[name])

    @property
    def policies(self) -> frozenset[str]:
        return frozenset(policy.strip() for policy in self.config["cleanup.policy"].split(","))


def find(
    specs: Sequence[TopicSpec],
    facts: Mapping[str, TopicFacts],
    bootstrap_servers: str,
    others: Collection[str] = (),
) -> list[Finding]:
    """All findings, in the order of the table. `facts` lacks the topics that do not exist.

    `others` are all names on the cluster: one of them may have been meant by a name that does not exist.
    """
    names = {spec.name for spec in specs}
    inspection = _Inspection(specs, facts, bootstrap_servers, [each for each in others if each not in names])
    return [finding for spec in specs for finding in inspection.of(spec)]


def nearest_topic(name: str, known: Collection[str]) -> str | None:
    """The topic that was probably meant; None where none is like it."""
    candidates = sorted(each for each in known if not each.startswith("__"))
    found = process.extractOne(
        name, candidates, scorer=OSA.normalized_similarity, processor=str.lower, score_cutoff=_LEAST_LIKENESS
    )
    return found[0] if found else None


@dataclass(frozen=True, slots=True)
class _Inspection:
    specs: Sequence[TopicSpec]
    facts: Mapping[str, TopicFacts]
    bootstrap_servers: str
    others: Collection[str]

    def of(self, spec: TopicSpec) -> Iterator[Finding]:
        facts = self.facts.get(spec.name)
        if facts is None:
            yield self._absent(spec)
            return
        yield from self._copies(spec, facts)
        yield from self._sizes(spec, facts)
        match spec.role:
            case Role.EVENTS:
                yield from self._events(spec, facts)
            case Role.CHANGELOG:
                yield from self._changelog(spec, facts)
            case Role.DEAD_LETTERS:
                yield from self._kept(spec, facts)
                yield from self._dead_letters(spec, facts)
            case _:
                yield from self._kept(spec, facts)

    def _absent(self, spec: TopicSpec) -> Finding:
        nearest = nearest_topic(spec.name, self.others)
        return Finding(
            Severity.ERROR,
            spec.name,
            "The topic does not exist" + (f"; did you mean {nearest}?" if nearest else ""),
            "The worker stops at its start when a topic is missing.",
            (f"name {nearest} in stream-worker.yaml, or run " if nearest else "") + "stream-worker topics create",
        )

    def _copies(self, spec: TopicSpec, facts: TopicFacts) -> Iterator[Finding]:
        insync = facts.number("min.insync.replicas")
        wanted = spec.config["min.insync.replicas"]
        if insync > facts.replication_factor:
            yield Finding(
                Severity.ERROR,
                spec.name,
                f"min.insync.replicas is {insync}, but there are {facts.replication_factor} copies",
                "Nothing can be written to the topic.",
                self._alter(spec, "min.insync.replicas", str(facts.replication_factor)),
            )
        elif insync < int(wanted):
            yield Finding(
                Severity.WARNING,
                spec.name,
                f"min.insync.replicas is {insync}, topics.min_insync_replicas is {wanted}",
                "A committed reply may be lost with fewer machines than you planned for.",
                self._alter(spec, "min.insync.replicas", wanted),
            )
        if facts.replication_factor < spec.replication_factor:
            yield Finding(
                Severity.WARNING,
                spec.name,
                f"It has {facts.replication_factor} copies, topics.replication_factor is {spec.replication_factor}",
                "A committed reply may be lost with fewer machines than you planned for.",
                f"kafka-reassign-partitions.sh --bootstrap-server {self.bootstrap_servers} --execute "
                "--reassignment-json-file FILE",
            )

    def _sizes(self, spec: TopicSpec, facts: TopicFacts) -> Iterator[Finding]:
        if spec.role is not Role.EVENTS and facts.number("max.message.bytes") < LEAST_MAX_BYTES:
            yield Finding(
                Severity.ERROR,
                spec.name,
                f"max.message.bytes is {facts.config['max.message.bytes']}, less than {LEAST_MAX_BYTES}",
                "The worker's own records may not fit, so it does not start.",
                self._alter(spec, "max.message.bytes", spec.config["max.message.bytes"]),
            )

    def _events(self, spec: TopicSpec, facts: TopicFacts) -> Iterator[Finding]:
        if "compact" in facts.policies:
            yield Finding(
                Severity.ERROR,
                spec.name,
                f"cleanup.policy is {facts.config['cleanup.policy']}",
                "Compaction deletes all but the last message of a conversation before it is answered.",
                self._alter(spec, "cleanup.policy", "delete"),
            )
        if facts.config["message.timestamp.type"] != "LogAppendTime":
            yield Finding(
                Severity.WARNING,
                spec.name,
                f"message.timestamp.type is {facts.config['message.timestamp.type']}",
                "Waiting times and expiry are then measured by the producers' clocks.",
                self._alter(spec, "message.timestamp.type", "LogAppendTime"),
            )
        if facts.partitions != spec.partitions:
            yield Finding(
                Severity.WARNING,
                spec.name,
                f"It has {facts.partitions} partitions, topics.partitions is {spec.partitions}",
                "Topics that are created later would get other partition counts than this one needs.",
                f"set topics.partitions to {facts.partitions} in stream-worker.yaml",
            )

    def _changelog(self, spec: TopicSpec, facts: TopicFacts) -> Iterator[Finding]:
        if facts.policies != {"compact"}:
            yield Finding(
                Severity.ERROR,
                spec.name,
                f"cleanup.policy is {facts.config['cleanup.policy']}",
                "With deletion, the state of quiet conversations and the ledgers are lost; without compaction, "
                "the topic and each restore grow for ever.",
                self._alter(spec, "cleanup.policy", "compact"),
            )
        events = self._facts_of(Role.EVENTS)
        if events is not None and facts.partitions != events.partitions:
            yield Finding(
                Severity.ERROR,
                spec.name,
                f"It has {facts.partitions} partitions, the input has {events.partitions}",
                "The state of an input partition lives in the changelog partition of the same number.",
                f"stop the workers and run stream-worker topics repartition --to "
                f"{max(facts.partitions, events.partitions)}, also where that was begun and did not end; or, only "
                f"where no worker of this application has ever run: kafka-topics.sh --bootstrap-server "
                f"{self.bootstrap_servers} --delete --topic {spec.name}, then stream-worker topics create",
            )
        for name in ("segment.ms", "max.compaction.lag.ms"):
            if facts.number(name) > DAY_MS:
                yield Finding(
                    Severity.WARNING,
                    spec.name,
                    f"{name} is {facts.config[name]}, more than 24 h",
                    "What a user had erased stays readable in the topic for longer.",
                    self._alter(spec, name, spec.config[name]),
                )
        if facts.number("delete.retention.ms") < DAY_MS:
            yield Finding(
                Severity.WARNING,
                spec.name,
                f"delete.retention.ms is {facts.config['delete.retention.ms']}, less than 24 h",
                "A worker that comes back later than this must restore everything, or it would miss deletions.",
                self._alter(spec, "delete.retention.ms", spec.config["delete.retention.ms"]),
            )

    def _kept(self, spec: TopicSpec, facts: TopicFacts) -> Iterator[Finding]:
        if "compact" in facts.policies:
            yield Finding(
                Severity.ERROR,
                spec.name,
                f"cleanup.policy is {facts.config['cleanup.policy']}",
                "Compaction deletes all but the last record of a conversation.",
                self._alter(spec, "cleanup.policy", "delete"),
            )

    def _dead_letters(self, spec: TopicSpec, facts: TopicFacts) -> Iterator[Finding]:
        events = self._facts_of(Role.EVENTS)
        if events is None:
            return
        wanted = events.number("max.message.bytes") + DEAD_LETTER_EXTRA_BYTES
        if facts.number("max.message.bytes") < wanted:
            yield Finding(
                Severity.WARNING,
                spec.name,
                f"max.message.bytes is {facts.config['max.message.bytes']}, the input's plus 64 KiB is {wanted}",
                "A dead letter of a large event is cut, and can no longer be sent again as it came.",
                self._alter(spec, "max.message.bytes", str(wanted)),
            )

    def _facts_of(self, role: Role) -> TopicFacts | None:
        return next((self.facts.get(spec.name) for spec in self.specs if spec.role is role), None)

    def _alter(self, spec: TopicSpec, name: str, value: str) -> str:
        return (
            f"kafka-configs.sh --bootstrap-server {self.bootstrap_servers} --alter "
            f"--entity-type topics --entity-name {spec.name} --add-config {name}={value}"
        )
