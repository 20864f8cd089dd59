"""A real Apache Kafka as a child process: KRaft, one node, on loopback.

It never outlives its parent: between the two stands `guard.py`, which ends the
broker when the parent is gone, also after kill -9. Data stays in the folder, so
a broker that starts there again has the topics and offsets of the one before.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stream_worker.embedded import guard
from stream_worker.embedded.configuration import LOGGING, Listener, server_properties
from stream_worker.embedded.distribution import KAFKA_VERSION, Distribution, obtain
from stream_worker.errors import Code, Misconfigured, Missing

_START_DEADLINE_S = 120.0
_STOP_GRACE_S = 3.0
_TAIL_LINES = 15
# One node with little data: the simplest collector starts fastest and takes the least memory.
_JVM = ("-XX:+UseSerialGC", "-Xmx768m")


def _say_nothing(_: str) -> None:
    pass


class EmbeddedBroker:
    """One broker over one folder. It can be stopped or killed and started again, on the same port."""

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        progress: Callable[[str], None] = _say_nothing,
        listeners: Sequence[Listener] = (),
        properties: Mapping[str, str] | None = None,
    ) -> None:
        """`properties` go before ours."""
        self._listeners = listeners
        self._overridden = properties or {}
        self._folder = folder.absolute()
        self._port = port
        self._progress = progress
        self._guard: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The process id of Kafka itself."""
        if self._pid is None:
            raise RuntimeError("the broker is not running")
        return self._pid

    @property
    def log_file(self) -> Path:
        return self._folder / "broker.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the broker answers. Raises Missing or Misconfigured when it will not."""
        if self._guard is not None:
            raise RuntimeError("the broker is running already")
        distribution = obtain(self._progress)
        self._configure()
        if not (self._data / "meta.properties").exists():
            self._format(distribution)
        self._progress(f"Starting Apache Kafka {KAFKA_VERSION}")
        try:
            self._launch(distribution)
            self._await_answer()
        except BaseException:
            self.kill()
            raise

    def wait(self) -> NoReturn:
        """Returns never: raises Missing when the broker has ended by itself."""
        if self._guard is None:
            raise RuntimeError("the broker is not running")
        code = self._guard.wait()
        raise self._failure(f"it ended with exit code {code}")

    def stop(self, grace_s: float = _STOP_GRACE_S) -> None:
        """Ends the broker in good order; after `grace_s` seconds without.

        Who ends transactions meanwhile may find one open for ever, as with `kill`: its partitions have no leader then.
        """
        self._end(signal.SIGTERM, grace_s)

    def kill(self) -> None:
        """Ends the broker as a power cut would; what a reader of committed records has seen is there after a start.

        A transaction whose commit has returned but whose marker is not written yet can stay open for ever: Kafka
        drops the markers of partitions without a leader, which is what a lone node that returns from a kill has until
        its old session ends (TransactionMarkerChannelManager, "likely deleted already").
        """
        self._end(signal.SIGKILL, _STOP_GRACE_S)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _properties(self) -> Path:
        return self._folder / "server.properties"

    @property
    def _logging(self) -> Path:
        return self._folder / "log4j2.xml"

    def _configure(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._port = free_port(self._port)
        properties = server_properties(self._data, self._port, free_port(), self._listeners, self._overridden)
        self._properties.write_text(properties, encoding="utf-8")
        self._logging.write_text(LOGGING, encoding="utf-8")

    def _command(self, distribution: Distribution, main_class: str, *arguments: str) -> list[str]:
        jvm = (*_JVM, f"-Dlog4j2.configurationFile={self._logging}")
        return distribution.command(main_class, *arguments, jvm=jvm)

    def _format(self, distribution: Distribution) -> None:
        """Kafka's storage has a cluster id before its first start, or it refuses to start."""
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode("ascii")
        if cluster_id.startswith("-"):  # the tool would take it for an option
            cluster_id = "k" + cluster_id[1:]
        arguments = ("format", "-t", cluster_id, "-c", str(self._properties))
        command = self._command(distribution, "kafka.tools.StorageTool", *arguments)
        with self.log_file.open("ab") as log:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
        if done.returncode != 0:
            raise self._failure(f"its storage could not be formatted (exit code {done.returncode})")

    def _launch(self, distribution: Distribution) -> None:
        command = self._command(distribution, "kafka.Kafka", str(self._properties))
        with self.log_file.open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", guard.__file__, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._guard.stdout is not None
        self._pid = int(self._guard.stdout.readline())

    def _await_answer(self) -> None:
        assert self._guard is not None
        # Until the broker listens, every attempt is refused; librdkafka would tell the terminal about each.
        admin = AdminClient(
            {"bootstrap.servers": self.bootstrap_servers, "log_level": 0, "reconnect.backoff.max.ms": 200}
        )
        deadline = time.monotonic() + _START_DEADLINE_S
        while time.monotonic() < deadline:
            if (code := self._guard.poll()) is not None:
                raise self._failure(f"it ended with exit code {code}")
            with contextlib.suppress(KafkaException):
                if admin.list_topics(timeout=0.5).brokers:
                    return
        raise self._failure(f"it did not answer within {_START_DEADLINE_S:.0f} s")

    def _end(self, how: signal.Signals, grace_s: float) -> None:
        if self._guard is None:
            return
        assert self._guard.stdin is not None
        # The guard ends the broker, too, where we were interrupted before it told us which process that is.
        self._guard.stdin.close()
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, how)
        try:
            self._guard.wait(grace_s)
        except subprocess.TimeoutExpired:
            if self._pid is not None:
                os.kill(self._pid, signal.SIGKILL)
            self._guard.wait()
        assert self._guard.stdout is not None
        self._guard.stdout.close()
        self._guard = self._pid = None

    def _failure(self, what: str) -> Missing:
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])
        return Missing(
            Code.BROKER_START_FAILED,
            f"The embedded broker does not run: {what}. The end of its log, {self.log_file}:\n{tail}",
        )


def free_port(wanted: int = 0) -> int:
    """The port if it is free, or any free one for 0."""
    with socket.socket() as probe:
        # As Kafka does: connections of a broker that has just ended do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise Misconfigured(
                Code.BROKER_START_FAILED, f"Port {wanted} is taken ({error}); --port 0 takes a free one"
            ) from error
        return int(probe.getsockname()[1])
