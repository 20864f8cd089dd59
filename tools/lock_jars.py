"""Writes stream_worker/embedded/jars.sha256 anew: resolves Kafka's dependencies and hashes every jar.

Run it after changing KAFKA_VERSION, and look at the difference before committing it.
"""

import hashlib
import tempfile
from pathlib import Path

from jgo.env import EnvironmentBuilder
from jgo.maven import MavenContext

from stream_worker.embedded import distribution

_LOG4J_VERSION = "2.25.3"
_COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{distribution.KAFKA_VERSION}",
    # Named, or a bill of materials brings an older one and the broker dies with NoSuchMethodError.
    f"org.apache.kafka:kafka-clients:{distribution.KAFKA_VERSION}",
    f"org.apache.logging.log4j:log4j-core:{_LOG4J_VERSION}",
    f"org.apache.logging.log4j:log4j-slf4j-impl:{_LOG4J_VERSION}",
)
_HEAD = f"""\
# Every jar of the embedded broker: what kafka_2.13 {distribution.KAFKA_VERSION} needs to run, and log4j for its log.
# Written by tools/lock_jars.py.
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder, "repository")
        maven = MavenContext(repo_cache=repository, timeout=60)
        EnvironmentBuilder(context=maven, cache_dir=Path(folder, "environment")).from_endpoint("+".join(_COORDINATES))
        lines = sorted(_line(jar, repository) for jar in repository.rglob("*.jar"))
    target = Path(distribution.__file__).with_name("jars.sha256")
    target.write_text(_HEAD + "".join(f"{sha256}  {coordinate}\n" for coordinate, sha256 in lines), encoding="utf-8")


def _line(jar: Path, repository: Path) -> tuple[str, str]:
    *group, artifact, version, _ = jar.relative_to(repository).parts
    return f"{'.'.join(group)}:{artifact}:{version}", hashlib.sha256(jar.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
