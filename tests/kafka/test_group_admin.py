"""What is asked of a group's coordinator while no broker answers."""

import signal
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stream_worker.embedded.broker import EmbeddedBroker, free_port
from stream_worker.kafka import group_admin

_STOP_S = 30.0
_ENDS_S = 60.0
_PATIENCE_S = 1.0


def _ask(servers: str, request_s: float, parent: Connection) -> None:
    """Asks for the first time while the broker is away, and ends well if it lives to see it come back.

    A client of its own asks then: the old one may look for the coordinator without end.
    """
    vars(group_admin)["_REQUEST_S"] = request_s
    settings: dict[str, str | int | float | bool] = {"bootstrap.servers": servers, "log_level": 0}
    settings["reconnect.backoff.max.ms"] = 100
    admin = AdminClient(settings)
    admin.list_topics(timeout=_ENDS_S)
    parent.send("connected")
    parent.recv()
    try:
        group_admin.description(admin, "nobody", _PATIENCE_S)
    except KafkaException:
        parent.send("unanswered")
    parent.recv()
    # Who finds the coordinator again sends what waits, a moment after it is connected.
    admin.list_topics(timeout=_ENDS_S)
    _members(AdminClient(settings))
    admin.list_topics(timeout=_ENDS_S)


def _members(admin: AdminClient) -> None:
    """Once the broker has a coordinator for the group, which it has not at first."""
    with suppress(KafkaException):  # of a group that is not there
        group_admin.coordinated(lambda: group_admin.description(admin, "nobody"))


def test_a_question_that_nobody_answered_ends_no_process_when_the_broker_is_back(tmp_path: Path) -> None:
    """It would with a limit of the client's own that is over by then: librdkafka aborts."""
    spawned = get_context("spawn")
    with EmbeddedBroker(tmp_path / "broker", free_port()) as broker:
        asking = {}
        for request_s in (group_admin._REQUEST_S, _PATIENCE_S):
            ours, theirs = spawned.Pipe()
            process = spawned.Process(target=_ask, args=(broker.bootstrap_servers, request_s, theirs))
            process.start()
            asking[request_s] = process, ours
        for _, pipe in asking.values():
            assert pipe.recv() == "connected"
        broker.stop(_STOP_S)
        for _, pipe in asking.values():
            pipe.send("it is away")
            assert pipe.recv() == "unanswered"
        broker.start()
        for process, pipe in asking.values():
            pipe.send("it is back")
            process.join(_ENDS_S)
        assert [process.exitcode for process, _ in asking.values()] == [0, -signal.SIGABRT]
