"""Where things go that can be made again."""

from pathlib import Path

import pytest

from stream_worker.cache import cache_folder


def test_the_folder_is_made_where_the_user_wants_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = cache_folder("kafka")
    assert folder == tmp_path / "stream-worker" / "kafka"
    assert folder.is_dir()


@pytest.mark.parametrize("ignored", [None, "", "relative/path"])
def test_without_an_absolute_path_it_is_in_the_home_folder(
    ignored: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if ignored is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
    assert cache_folder("models") == tmp_path / ".cache" / "stream-worker" / "models"
