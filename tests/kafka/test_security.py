"""A broker that minds who connects: every way to sign in, and the least rights with which everything works.

What is not on the list of `topics acls` is forbidden here; and without any one entry a worker does not start, with an
error that names it.
"""

import base64
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from stream_worker.embedded.broker import EmbeddedBroker, free_port
from stream_worker.embedded.configuration import Listener
from stream_worker.errors import Code, Fatal
from stream_worker.kafka.dead_letters import read_letters
from stream_worker.kafka.edge import Identity, KafkaEdge
from stream_worker.kafka.letters import Wanted
from stream_worker.kafka.rights import Kind, Operation, Right, User, rights
from stream_worker.kafka.rights_check import lacking_rights
from stream_worker.kafka.topic_admin import Creation, check, connect, create
from stream_worker.kafka.topics import topic_table
from stream_worker.kafka.window import Window
from stream_worker.settings import Settings
from tests.certificates import self_signed
from tests.eventually import eventually
from tests.kafka.conftest import unique_settings
from tests.kafka.event_writer import EventWriter
from tests.kafka.processes import WorkerProcess
from tests.kafka.topic_reader import TopicReader

SECRET = "canary-7f3a-secret"
_CALL_S = 10.0
_KINDS = {
    Kind.TOPIC: ResourceType.TOPIC,
    Kind.GROUP: ResourceType.GROUP,
    Kind.TRANSACTIONAL_ID: ResourceType.TRANSACTIONAL_ID,
}
_JAAS = "org.apache.kafka.common.security"
_USERS = tuple(user.value for user in User)


@dataclass(frozen=True, slots=True)
class Fortress:
    """The broker: `servers` is the door of its administrator, the others ask who comes."""

    servers: str
    sasl: str
    tls: str
    folder: Path
    token_url: str

    def client(self, name: str, way: str) -> dict[str, Any]:
        """`kafka.client` of a user."""
        if way == "TLS":
            return {
                "security.protocol": "SSL",
                "ssl.ca.location": str(self.folder / "server.pem"),
                "ssl.certificate.location": str(self.folder / "client.pem"),
                "ssl.key.location": str(self.folder / "client.key"),
            }
        common = {"security.protocol": "SASL_SSL", "ssl.ca.location": str(self.folder / "server.pem")}
        if way == "OAUTHBEARER":
            oidc = {"method": "oidc", "client.id": name, "client.secret": SECRET, "token.endpoint.url": self.token_url}
            return common | {"sasl.mechanism": way} | {f"sasl.oauthbearer.{key}": value for key, value in oidc.items()}
        return common | {"sasl.mechanism": way, "sasl.username": name, "sasl.password": SECRET}


class _Tokens(BaseHTTPRequestHandler):
    """A token endpoint as an identity provider has one; its tokens carry the client's id, and no signature."""

    def do_POST(self) -> None:
        kind, _, credentials = self.headers["Authorization"].partition(" ")
        name, _, secret = base64.b64decode(credentials).decode().partition(":")
        if kind != "Basic" or secret != SECRET:
            self.send_error(401)
            return
        now = int(time.time())
        parts = ({"alg": "none"}, {"sub": name, "iat": now, "exp": now + 3_600})
        token = ".".join(base64.urlsafe_b64encode(orjson.dumps(part)).decode().rstrip("=") for part in parts) + "."
        answer = orjson.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 3_600})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    folder = tmp_path_factory.mktemp("fortress")
    _keys(folder)
    sasl, tls = free_port(), free_port()
    listeners = [Listener("DOOR", sasl, sasl, "SASL_SSL"), Listener("GATE", tls, tls, "SSL")]
    tokens = HTTPServer(("127.0.0.1", 0), _Tokens)
    threading.Thread(target=tokens.serve_forever, daemon=True).start()
    with EmbeddedBroker(folder / "broker", listeners=listeners, properties=_properties(folder)) as broker:
        _add_users(AdminClient({"bootstrap.servers": broker.bootstrap_servers}))
        url = f"http://127.0.0.1:{tokens.server_port}/token"
        yield Fortress(broker.bootstrap_servers, f"127.0.0.1:{sasl}", f"127.0.0.1:{tls}", folder, url)
    tokens.shutdown()
    tokens.server_close()


def _keys(folder: Path) -> None:
    certificate, key = self_signed(folder, 30, "server")
    self_signed(folder, 30, "client")
    (folder / "server-both.pem").write_bytes(key.read_bytes() + certificate.read_bytes())


def _properties(folder: Path) -> Mapping[str, str]:
    keys = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "server-both.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "client.pem"),
    }
    door = "listener.name.door"
    plain = "".join(f' user_{name}="{SECRET}"' for name in _USERS)
    return keys | {
        "listener.name.gate.ssl.client.auth": "required",
        f"{door}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        f"{door}.plain.sasl.jaas.config": f"{_JAAS}.plain.PlainLoginModule required{plain};",
        f"{door}.scram-sha-256.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
        f"{door}.scram-sha-512.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
        f"{door}.oauthbearer.sasl.jaas.config": f"{_JAAS}.oauthbearer.OAuthBearerLoginModule required"
        ' unsecuredLoginStringClaim_sub="broker";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }


def _add_users(admin: AdminClient) -> None:
    # One after the other: a request may name a user once.
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
        wanted: list[UserScramCredentialAlteration] = [
            UserScramCredentialUpsertion(name, ScramCredentialInfo(mechanism, 4_096), SECRET.encode())
            for name in _USERS
        ]
        for future in admin.alter_user_scram_credentials(wanted).values():
            future.result(_CALL_S)


def _binding(right: Right, name: str) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if right.is_prefix else ResourcePatternType.LITERAL
    operation = AclOperation[right.operation]
    return AclBinding(_KINDS[right.kind], right.name, pattern, f"User:{name}", "*", operation, AclPermissionType.ALLOW)


def _filter(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


def _owned(fortress: Fortress, **changes: Any) -> Settings:
    """An application with its topics, which its administrator made, and nobody may use."""
    owner = unique_settings(fortress.servers, 2, **changes)
    create(connect(owner), topic_table(owner))
    return owner


def _as(owner: Settings, fortress: Fortress, name: str, way: str) -> Settings:
    """The same application, as a user sees it."""
    servers = fortress.tls if way == "TLS" else fortress.sasl
    client = fortress.client(name, way)
    return owner.model_copy(
        update={"kafka": owner.kafka.model_copy(update={"bootstrap_servers": servers, "client": client})}
    )


def _allow(fortress: Fortress, owner: Settings, user: User, way: str = "SCRAM-SHA-256") -> Settings:
    """Gives a user exactly its rights; the application as it sees it, once the broker knows of them."""
    wanted = rights(owner, user)
    # With TLS the name is that of the certificate.
    name = "CN=localhost" if way == "TLS" else user.value
    admin = connect(owner)
    for future in admin.create_acls([_binding(right, name) for right in wanted]).values():
        future.result(_CALL_S)
    settings = _as(owner, fortress, user.value, way)
    theirs = connect(settings)
    eventually(lambda: not lacking_rights(theirs, wanted), _CALL_S)
    return settings


@contextmanager
def _without(admin: AdminClient, right: Right, name: str) -> Iterator[None]:
    binding = _binding(right, name)
    for future in admin.delete_acls([_filter(binding)]).values():
        future.result(_CALL_S)
    try:
        yield
    finally:
        for future in admin.create_acls([binding]).values():
            future.result(_CALL_S)


@pytest.mark.parametrize(
    ("way", "protocol"),
    [
        ("PLAIN", "classic"),
        ("SCRAM-SHA-256", "classic"),
        ("SCRAM-SHA-512", "consumer"),
        ("OAUTHBEARER", "classic"),
        ("TLS", "consumer"),
    ],
)
def test_the_whole_flow_with_exactly_these_rights(fortress: Fortress, tmp_path: Path, way: str, protocol: str) -> None:
    owner = _owned(fortress, kafka={"group_protocol": protocol})
    worker = _allow(fortress, owner, User.WORKER, way)
    gateway, console = _allow(fortress, owner, User.GATEWAY), _allow(fortress, owner, User.CONSOLE)
    with WorkerProcess(worker, tmp_path / "w", "w-0") as process:
        events, outputs = EventWriter(gateway), TopicReader(owner)
        said = [events.say(f"c-{number}", "canary text") for number in range(4)]
        events.raw("c-0", b"canary text, and no event at all")
        eventually(lambda: set(said) <= outputs.reply_texts.keys() and outputs.buried, 30.0)
        window = Window(console)
        window.open(0, 100)
        seen = eventually(lambda: window.read(0.5), 10.0)
        window.close()
        assert seen
        eventually(lambda: read_letters(console).find(Wanted()), 10.0)
        process.terminate()
        assert process.exit_code() == 0, process.log
        outputs.close()
        assert SECRET not in process.log
        assert "canary text" not in process.log


def test_topics_are_made_and_checked_with_exactly_these_rights(fortress: Fortress) -> None:
    owner = unique_settings(fortress.servers, 2)
    admin, name = connect(owner), User.TOPICS.value
    theirs, specs = connect(_as(owner, fortress, name, "SCRAM-SHA-256")), topic_table(owner)
    forbidden = eventually(lambda: create(theirs, specs), _CALL_S)
    assert {report.result for report in forbidden} == {Creation.FAILED}
    wanted = rights(owner, User.TOPICS)
    for future in admin.create_acls([_binding(right, name) for right in wanted]).values():
        future.result(_CALL_S)
    made = {Creation.CREATED, Creation.EXISTS}
    eventually(lambda: {report.result for report in create(theirs, specs)} <= made, _CALL_S)
    eventually(lambda: lacking_rights(theirs, wanted) == [], _CALL_S)
    assert check(theirs, owner) == []
    # A worker's rights are others: it could not have made them, nor can this user read what was said.
    own = {right.operation for right in wanted}
    assert own.isdisjoint({Operation.READ, Operation.WRITE})
    assert Operation.CREATE not in {right.operation for right in rights(owner, User.WORKER)}


def test_without_any_one_right_the_start_names_it(fortress: Fortress) -> None:
    owner = _owned(fortress)
    settings, admin = _allow(fortress, owner, User.WORKER), connect(owner)
    eventually(lambda: _started(settings) is None, 10.0)
    for right in rights(owner, User.WORKER):
        with _without(admin, right, "worker"):
            error = eventually(lambda: _started(settings), 10.0)
            assert error is not None
            assert error.code is Code.NOT_AUTHORIZED, (right, error)
            assert str(right).removesuffix("*") in error.detail or (
                right.kind is Kind.TRANSACTIONAL_ID and "WRITE on our transactional id" in error.detail
            ), (right, error)
            assert "stream-worker topics acls" in error.detail
            assert SECRET not in str(error)
        eventually(lambda: _started(settings) is None, 10.0)


def _started(settings: Settings) -> Fatal | None:
    """What ends a worker before it joins its group; None where nothing does."""
    who = Identity(transactional_id=f"{settings.application_id}-w-0-cpu", member=None)
    try:
        edge = KafkaEdge(settings, who, lambda: None)
        clients = edge.open()
        clients.transactions.start()
        edge.close()
    except Fatal as error:
        return error
    return None
