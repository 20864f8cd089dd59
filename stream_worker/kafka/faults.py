"""librdkafka's errors sorted by their cure. The only place that knows their codes."""

from confluent_kafka import KafkaError

from stream_worker.errors import ClientsBroken, Code, Fatal, Missing, StreamWorkerError

_FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED if hasattr(KafkaError, "PRODUCER_FENCED") else KafkaError._FENCED,
        KafkaError.FENCED_INSTANCE_ID,
    }
)
_ACCESS = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
    }
)
_MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
_GROUP_MOVED_ON = frozenset(
    {KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS}
)
_REFUSED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.POLICY_VIOLATION,
    }
)


def is_missing(error: KafkaError) -> bool:
    """A topic or partition is not there."""
    return error.code() in _MISSING


def group_moved_on(error: KafkaError) -> bool:
    """The transaction was aborted only because the group has a new generation."""
    return error.code() in _GROUP_MOVED_ON


def refuses_a_record(error: KafkaError) -> bool:
    return error.code() in _REFUSED


def beyond_repair(error: KafkaError) -> StreamWorkerError | None:
    """The error of ours that ends the client or the process; None where going on may help."""
    code = error.code()
    if code in _FENCED:
        return _fenced(error)
    if code == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return Fatal(
            Code.NOT_AUTHORIZED,
            f"we lack the right WRITE on our transactional id ({error.name()}); `stream-worker topics acls` prints all "
            "that a worker needs",
        )
    if code in _ACCESS:
        return Fatal(Code.NOT_AUTHORIZED, f"the broker refuses access ({error.name()}): {error.str()}")
    if code in _MISSING:
        return Fatal(Code.TOPIC_MISSING, f"{error.str()}: run `stream-worker topics check`")
    if error.fatal():
        return ClientsBroken(Code.CLIENTS_BROKEN, f"the Kafka client failed ({error.name()}): {error.str()}")
    return None


def ends_consumer(error: KafkaError) -> StreamWorkerError | None:
    """As `beyond_repair`, for the group's consumer.

    Its fatal error comes without the code of its cause, and without its mark. In the classic protocol there is but
    one: a static member whose instance id another process has taken.
    """
    return _fenced(error) if error.code() == KafkaError._FATAL else beyond_repair(error)


def _fenced(error: KafkaError) -> Fatal:
    return Fatal(
        Code.FENCED,
        f"fenced ({error.name()}): another process uses the same instance and device, or this one was stopped "
        "for longer than its timeouts; give each process its own --instance",
    )


def translated(error: KafkaError, topic: str = "") -> StreamWorkerError:
    """The error of ours for a call of an administrator or a reader that failed; `topic` is what was asked for."""
    if error.code() in _MISSING:
        what = f"the topic {topic} is missing" if topic else error.str()
        return Missing(Code.TOPIC_MISSING, f"{what}: run `stream-worker topics create`")
    if (fault := beyond_repair(error)) is not None:
        return fault
    return Missing(
        Code.BROKER_UNREACHABLE,
        f"no usable answer from the brokers ({error.name()}: {error.str()}): "
        "check kafka.bootstrap_servers, and that a broker runs there",
    )
