"""Which rights we lack on this broker, of those that it tells of. Writes nothing."""

from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient

from stream_worker.errors import Code, Fatal
from stream_worker.kafka.calls import answered
from stream_worker.kafka.faults import translated
from stream_worker.kafka.group_admin import coordinated, descriptions
from stream_worker.kafka.rights import Kind, Right, User, rights
from stream_worker.settings import Settings

_CALL_S = 8.0


def lacking_rights(admin: AdminClient, wanted: Iterable[Right]) -> list[Right]:
    """Those of `wanted` that we have not. Topics that are not there, and a group that nobody joined, tell nothing.

    Nobody can ask for the right to a transactional id: the first transaction tells. Raises what `translated` says.
    """
    exact = [right for right in wanted if not right.is_prefix]
    topics = {right.name for right in exact if right.kind is Kind.TOPIC}
    groups = {right.name for right in exact if right.kind is Kind.GROUP}
    try:
        allowed = _of_topics(admin, sorted(topics)) | _of_groups(admin, sorted(groups))
    except KafkaException as error:
        raise translated(error.args[0]) from error
    found = []
    for right in exact:
        operations = allowed.get((right.kind, right.name))
        if operations is not None and AclOperation[right.operation] not in operations:
            found.append(right)
    return found


def refuse_lacking_rights(admin: AdminClient, settings: Settings) -> None:
    """Raises Fatal naming each right that a worker needs and has not, with the command that gives the first."""
    if lacking := lacking_rights(admin, rights(settings, User.WORKER)):
        cure = lacking[0].allow("User:NAME", settings.kafka.bootstrap_servers)
        raise Fatal(
            Code.NOT_AUTHORIZED,
            f"we lack the rights {', '.join(map(str, lacking))}: {cure}; "
            "`stream-worker topics acls` prints all that a worker needs",
        )


Allowed = dict[tuple[Kind, str], frozenset[AclOperation]]


def _of_topics(admin: AdminClient, names: list[str]) -> Allowed:
    if not names:
        return {}
    described = admin.describe_topics(
        TopicCollection(names), include_authorized_operations=True, request_timeout=_CALL_S
    )
    forbidden, absent = KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART
    return _told(Kind.TOPIC, described, forbidden, absent)


def _of_groups(admin: AdminClient, names: list[str]) -> Allowed:
    def ask() -> Allowed:
        described = descriptions(admin, names, with_rights=True)
        forbidden, absent = KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.GROUP_ID_NOT_FOUND
        return _told(Kind.GROUP, described, forbidden, absent)

    return coordinated(ask) if names else {}


def _told(kind: Kind, futures: Mapping[str, Any], forbidden: int, absent: int) -> Allowed:
    """What may be done to each; nothing of what is not there, or whose broker does not say. Raises KafkaException."""
    told: Allowed = {}
    for name, future in futures.items():
        try:
            operations = answered(future, _CALL_S).authorized_operations
        except KafkaException as error:
            code = error.args[0].code()
            if code == forbidden:
                told[kind, name] = frozenset()
            elif code != absent:
                raise
            continue
        if operations is not None:
            told[kind, name] = frozenset(operations)
    return told
