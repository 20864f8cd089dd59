"""Counts of fatal errors outlive the process."""

from pathlib import Path

import pytest

from stream_worker.errors import Code
from stream_worker.fatal_errors import FatalErrors
from stream_worker.settings import Settings


def _settings(folder: Path, instance: str | None) -> Settings:
    return Settings.model_validate({"instance": instance, "conversation": {"state_dir": str(folder)}})


def test_the_next_process_of_an_instance_goes_on_counting(tmp_path: Path) -> None:
    for expected in range(3):
        tally = FatalErrors.of(_settings(tmp_path, "0"), "app-0-cpu")
        assert tally.counts()[Code.FENCED.id] == expected
        tally.add(Code.FENCED)
    assert FatalErrors.of(_settings(tmp_path, "1"), "app-1-cpu").counts() == {Code.FENCED.id: 0}


def test_a_worker_without_a_name_keeps_nothing(tmp_path: Path) -> None:
    FatalErrors.of(_settings(tmp_path, None), "app-random-cpu").add(Code.FENCED)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b'{"SW-X999": 3}', b'{"SW-K005": "x"}'])
def test_a_file_that_is_not_ours_counts_from_zero(content: bytes, tmp_path: Path) -> None:
    FatalErrors.of(_settings(tmp_path, "0"), "app").add(Code.FENCED)
    (file,) = tmp_path.rglob("*.json")
    file.write_bytes(content)
    assert FatalErrors.of(_settings(tmp_path, "0"), "app").counts() == {Code.FENCED.id: 0}
