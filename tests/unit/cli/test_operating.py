"""Commands of operation that need no broker."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from stream_worker.clock import ManualClock
from stream_worker.errors import Misconfigured
from stream_worker.observability.health import HealthBoard, HealthServer
from stream_worker.settings import loader, renames
from tests.unit.cli.test_frame import run

ROOT = Path(__file__).parents[3]


@pytest.fixture
def board() -> HealthBoard:
    return HealthBoard(ManualClock(), engine_loaded=True, joined=True)


@pytest.fixture
def url(board: HealthBoard) -> Iterator[str]:
    with HealthServer("127.0.0.1", 0, board, CollectorRegistry()) as server:
        yield f"http://127.0.0.1:{server.port}"


def test_health_tells_by_its_exit_code(board: HealthBoard, url: str, tmp_path: Path) -> None:
    assert run(f"health --url {url}", tmp_path).returncode == 0
    board.refused_partitions = 1
    done = run(f"health --url {url}", tmp_path)
    assert done.returncode == 1
    assert "no partition refused\tno" in done.stdout
    assert run(f"health --probe startup --url {url}", tmp_path).returncode == 0


def test_health_of_nobody_is_missing(tmp_path: Path) -> None:
    done = run("health --url 127.0.0.1:9", tmp_path)
    assert done.returncode == 3
    assert "Nobody answers" in done.stderr


def test_the_threads_are_shown_without_their_values(url: str) -> None:
    import urllib.request

    planted = "canary-4410"
    with urllib.request.urlopen(f"{url}/threads", timeout=5) as answer:
        stacks = answer.read().decode()
    assert "MainThread" in stacks
    assert planted not in stacks.replace('planted = "canary-4410"', "")


OLD = """\
# the shop's worker
application_id: shop
kafka:
  linger: 7   # as measured
  commit_interval_ms: 50
"""


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    table = {"kafka.linger": "tick_ms"}
    monkeypatch.setattr(loader, "RENAMED", table)
    monkeypatch.setattr(renames, "RENAMED", table)
    return table


def test_an_old_name_works_with_a_warning_that_says_where(renamed: Mapping[str, str], tmp_path: Path) -> None:
    file = tmp_path / "stream-worker.yaml"
    file.write_text(OLD)
    with pytest.warns(FutureWarning, match="stream-worker.yaml:4:3: kafka.linger was renamed tick_ms"):
        resolved = loader.resolve(file, environ={})
    assert resolved.settings.tick_ms == 7
    assert str(resolved.source(("tick_ms",))).endswith("stream-worker.yaml:4:3")


def test_both_names_at_once_are_refused(renamed: Mapping[str, str], tmp_path: Path) -> None:
    file = tmp_path / "stream-worker.yaml"
    file.write_text(OLD + "tick_ms: 9\n")
    with pytest.raises(Misconfigured, match="both are given"):
        loader.resolve(file, environ={})


def test_migrate_keeps_comments_and_order(
    renamed: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stream_worker.cli.config import migrate

    monkeypatch.chdir(tmp_path)
    file = tmp_path / "stream-worker.yaml"
    file.write_text(OLD)
    migrate(dry_run=True)
    assert file.read_text() == OLD
    migrate(yes=True)
    text = file.read_text()
    assert text.startswith("# the shop's worker\napplication_id: shop\nkafka:\n")
    assert "linger" not in text
    assert loader.resolve(file, environ={}).settings.tick_ms == 7


def test_migrate_asks_before_it_writes(tmp_path: Path) -> None:
    (tmp_path / "stream-worker.yaml").write_text("application_id: shop\n")
    done = run("config migrate", tmp_path)
    assert (done.returncode, done.stdout) == (0, "stream-worker.yaml uses no renamed setting.\n")
