"""Where things go that can be made again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stream_worker.cache import appearing_whole, cache_folder


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


def _file(path: Path) -> None:
    path.write_text("done")


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "weights").write_text("done")


@pytest.mark.parametrize("make", [_file, _folder])
def test_what_is_made_appears_whole_or_not_at_all(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "made"

    def fails_half_way() -> None:
        with appearing_whole(path) as unfinished:
            make(unfinished)
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fails_half_way()
    assert list(tmp_path.iterdir()) == []
    with appearing_whole(path) as unfinished:
        make(unfinished)
        assert not path.exists()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("make", [_file, _folder])
def test_who_comes_second_leaves_one_behind(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "made"
    with appearing_whole(path) as unfinished:
        make(unfinished)
        make(path)
    assert list(tmp_path.iterdir()) == [path]
