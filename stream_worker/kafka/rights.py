"""What each program may do on a broker that minds access control lists: the least that it needs. Pure.

One table: `topics acls` prints it, a worker holds its rights against it at the start, `doctor` and the tests do, too.
READ and WRITE bring DESCRIBE with them; WRITE on a topic brings what an idempotent producer needs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from stream_worker.kafka.topics import Role, topic_table
from stream_worker.settings import Settings


class User(StrEnum):
    """Who connects."""

    WORKER = "worker"
    GATEWAY = "gateway"
    """Writes events, and reads replies and previews."""
    CONSOLE = "console"
    """Looks on, writes events for those who take over, and sends dead letters back; `dlq`, `tail` and `status`, too."""
    TOPICS = "topics"
    """Makes the topics, and holds them against the table: `topics create` and `topics check`."""


class Operation(StrEnum):
    READ = "READ"
    WRITE = "WRITE"
    CREATE = "CREATE"
    DESCRIBE = "DESCRIBE"
    DESCRIBE_CONFIGS = "DESCRIBE_CONFIGS"


class Kind(StrEnum):
    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"


@dataclass(frozen=True, slots=True)
class Right:
    """One entry of the list."""

    operation: Operation
    """What must be allowed."""

    kind: Kind
    """What it is allowed for."""

    name: str
    """Its name."""

    is_prefix: bool
    """Whether the name is the beginning of names."""

    why: str
    """What needs it."""

    def __str__(self) -> str:
        return f"{self.operation} on {self.kind} {self.name}{'*' if self.is_prefix else ''}"

    def allow(self, principal: str, bootstrap_servers: str) -> str:
        """How Kafka's own tool gives the right."""
        pattern = " --resource-pattern-type prefixed" if self.is_prefix else ""
        operation = "".join(part.title() for part in self.operation.split("_"))
        return (
            f"kafka-acls.sh --bootstrap-server {bootstrap_servers} --add --allow-principal {principal} "
            f"--operation {operation} --{self.kind} {self.name}{pattern}"
        )


def rights(settings: Settings, user: User) -> tuple[Right, ...]:
    """All that `user` needs, in the order of the topics."""
    match user:
        case User.WORKER:
            return tuple(_worker(settings))
        case User.GATEWAY:
            return tuple(_gateway(settings))
        case User.CONSOLE:
            return tuple(_console(settings))
        case User.TOPICS:
            return tuple(_topics(settings))


def _worker(settings: Settings) -> Iterator[Right]:
    application = settings.application_id
    for spec in topic_table(settings):
        yield Right(
            Operation.DESCRIBE_CONFIGS, Kind.TOPIC, spec.name, False, "its limits are looked at before the start"
        )
        if spec.role in (Role.EVENTS, Role.CHANGELOG):
            why = "events come from it" if spec.role is Role.EVENTS else "state and ledgers are restored from it"
            yield Right(Operation.READ, Kind.TOPIC, spec.name, False, why)
        if spec.role is not Role.EVENTS:
            yield Right(Operation.WRITE, Kind.TOPIC, spec.name, False, "results are published to it")
    yield Right(Operation.READ, Kind.GROUP, application, False, "workers share the partitions in it")
    yield Right(Operation.WRITE, Kind.TRANSACTIONAL_ID, f"{application}-", True, "replies are written in transactions")


def _gateway(settings: Settings) -> Iterator[Right]:
    names = {spec.role: spec.name for spec in topic_table(settings)}
    yield Right(Operation.WRITE, Kind.TOPIC, names[Role.EVENTS], False, "what users write goes to it")
    for role in (Role.REPLIES, Role.DELTAS, Role.ACTIONS):
        yield Right(Operation.READ, Kind.TOPIC, names[role], False, "what goes to the platform comes from it")
    yield Right(Operation.READ, Kind.GROUP, f"{settings.application_id}-gateway", True, "gateways share the partitions")


def _console(settings: Settings) -> Iterator[Right]:
    for spec in topic_table(settings):
        yield Right(Operation.READ, Kind.TOPIC, spec.name, False, "it is shown")
        yield Right(Operation.DESCRIBE_CONFIGS, Kind.TOPIC, spec.name, False, "its limits are looked at")
        if spec.role is Role.EVENTS:
            yield Right(Operation.WRITE, Kind.TOPIC, spec.name, False, "who takes over, or sends a letter back, writes")
        elif spec.role is Role.DEAD_LETTERS:
            yield Right(Operation.WRITE, Kind.TOPIC, spec.name, False, "a letter that was sent back is marked")
    application = settings.application_id
    yield Right(Operation.READ, Kind.GROUP, application, True, "lag, members and offsets are shown")
    yield Right(Operation.WRITE, Kind.TRANSACTIONAL_ID, f"{application}-", True, "a letter goes back with its mark")


def _topics(settings: Settings) -> Iterator[Right]:
    for spec in topic_table(settings):
        yield Right(Operation.CREATE, Kind.TOPIC, spec.name, False, "it is made where it is missing")
        yield Right(Operation.DESCRIBE, Kind.TOPIC, spec.name, False, "it is waited for until it can be written to")
        yield Right(Operation.DESCRIBE_CONFIGS, Kind.TOPIC, spec.name, False, "it is held against the table")
