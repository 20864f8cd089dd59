"""Probes tell what the threads left on the board, and do no work for it."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from stream_worker.clock import ManualClock
from stream_worker.errors import Misconfigured
from stream_worker.observability.health import HealthBoard, HealthServer
from stream_worker.observability.metric_table import Loop
from stream_worker.observability.metrics import Metrics


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def board(clock: ManualClock) -> HealthBoard:
    return HealthBoard(clock)


@pytest.fixture
def server(board: HealthBoard) -> Iterator[HealthServer]:
    with HealthServer("127.0.0.1", 0, board, Metrics({}).registry) as server:
        yield server


def get(server: HealthServer, path: str, accept: str = "", host: str = "127.0.0.1") -> tuple[int, str, str]:
    connection = HTTPConnection(host, server.port, timeout=10)
    try:
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


def test_a_thread_without_a_beat_for_thirty_seconds_is_not_alive(
    board: HealthBoard, clock: ManualClock, server: HealthServer
) -> None:
    board.beat(Loop.WORKER)
    board.beat(Loop.DEVICE)
    clock.advance(29)
    board.beat(Loop.WORKER)
    assert get(server, "/livez")[0] == 200
    clock.advance(2)
    status, _, body = get(server, "/livez")
    assert (status, json.loads(body)) == (503, {"device thread": False, "worker thread": True})


def test_it_has_started_when_the_model_is_loaded(board: HealthBoard, server: HealthServer) -> None:
    assert get(server, "/startupz")[0] == 503
    board.engine_loaded = True
    assert get(server, "/startupz")[0] == 200


def test_a_model_may_load_for_as_long_as_it_takes(board: HealthBoard, clock: ManualClock, server: HealthServer) -> None:
    """Also where a call to the broker was resumed, with a sign of life, before the loading began."""
    board.renew(Loop.WORKER)
    for _ in range(600):
        clock.advance(1)
        board.beat(Loop.IO)
    assert get(server, "/livez")[0] == 200
    assert get(server, "/startupz")[0] == get(server, "/readyz")[0] == 503
    board.loaded()
    assert get(server, "/startupz")[0] == get(server, "/livez")[0] == 200
    clock.advance(31)
    board.beat(Loop.IO)
    status, _, body = get(server, "/livez")
    assert (status, json.loads(body)) == (503, {"io thread": True, "worker thread": False})
    board.renew(Loop.WORKER)
    assert get(server, "/livez")[0] == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("engine_loaded", False),
        ("joined", False),
        ("engine_away", True),
        ("restoring_partitions", 1),
        ("refused_partitions", 1),
        ("stopping", True),
    ],
)
def test_it_is_ready_when_everything_assigned_can_be_served(
    board: HealthBoard, server: HealthServer, field: str, value: object
) -> None:
    board.engine_loaded = board.joined = True
    assert get(server, "/readyz")[0] == 200
    setattr(board, field, value)
    status, _, body = get(server, "/readyz?verbose")
    assert status == 503
    assert list(json.loads(body).values()).count(False) == 1


def test_metrics_are_negotiated(server: HealthServer) -> None:
    plain = get(server, "/metrics")
    assert plain[0] == 200
    assert plain[1].startswith("text/plain")
    opened = get(server, "/metrics", "application/openmetrics-text; version=1.0.0")
    assert opened[1].startswith("application/openmetrics-text")
    assert opened[2].endswith("# EOF\n")


def test_it_listens_on_ipv6_too(board: HealthBoard) -> None:
    with HealthServer("::1", 0, board, Metrics({}).registry) as server:
        assert get(server, "/metrics", host="::1")[0] == 200


def test_other_paths_are_not_found(server: HealthServer) -> None:
    assert get(server, "/")[0] == 404


def test_a_port_in_use_is_refused_with_the_cure(server: HealthServer, board: HealthBoard) -> None:
    with pytest.raises(Misconfigured, match=r"observability\.port"):
        HealthServer("127.0.0.1", server.port, board, Metrics({}).registry)
