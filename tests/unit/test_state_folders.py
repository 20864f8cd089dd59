"""Local state of workers with random names goes with them; a named worker's stays for its next start."""

from pathlib import Path

from stream_worker.conversation.store import RocksStore
from stream_worker.state_folders import StateFolders


def test_only_what_a_random_name_left_behind_is_removed(tmp_path: Path) -> None:
    folders = StateFolders(tmp_path, "shop")
    for name in (
        "shop-0a1b2c3d-cpu",
        "shop-00000000-cuda3",
        "shop-0-cpu",
        "shop-0a1b2c3d-cpu-backup",
        "other-0a1b2c3d-cpu",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "LOCK").touch()
    (tmp_path / "shop-0-cpu.errors.json").write_text("{}")
    (tmp_path / "shop-ffffffff-cpu").mkdir()
    removed = {folder.name for folder in folders.remove_stale()}
    assert removed == {"shop-0a1b2c3d-cpu", "shop-00000000-cuda3"}, "a folder without a lock yet may be starting"
    assert not any((tmp_path / name).exists() for name in removed)
    assert (tmp_path / "shop-0-cpu").exists()


def test_a_folder_that_another_process_has_open_stays(tmp_path: Path) -> None:
    import subprocess
    import sys

    folder = tmp_path / "shop-0a1b2c3d-cpu"
    RocksStore(folder).close()
    hold = (
        "import fcntl, sys; lock = open(sys.argv[1], 'rb+'); fcntl.lockf(lock, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(folder / "LOCK")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert StateFolders(tmp_path, "shop").remove_stale() == []
        other.communicate()
    assert StateFolders(tmp_path, "shop").remove_stale() == [folder]


def test_there_may_be_no_folder_yet(tmp_path: Path) -> None:
    assert StateFolders(tmp_path / "none", "shop").remove_stale() == []
