"""What the embedded broker is configured with: one node, loopback only, quick to react.

Everything differs from Kafka's defaults for one of three reasons: there is one
node, it should be ready at once, or a test should not wait for a timeout.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Listener:
    """One more port of the broker; clients that come by it are told to use `advertised_port`, a proxy's for instance.

    `name` is in capital letters; `protocol` is Kafka's security protocol. What that needs goes into the properties.
    """

    name: str
    port: int
    advertised_port: int
    protocol: str = "PLAINTEXT"


# Internal topics exist once per node here; eight partitions keep their creation short.
_ONE_NODE = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "8",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
}

# A topic that is misspelt must be an error here as it is in production.
_STRICT = {"auto.create.topics.enable": "false"}

_QUICK = {
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "group.consumer.min.session.timeout.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.heartbeat.interval.ms": "600",
    # A transaction that a dead worker left open ends soon after its timeout, not up to 10 s later.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # A broker that was killed is let in again only when its predecessor's session is over (9 s by default). Shorter
    # still, and a machine that stalls would end a living one's session: its partitions were without a leader then.
    "broker.session.timeout.ms": "5000",
    "broker.heartbeat.interval.ms": "800",
}

# The default of 128 MiB for the log cleaner alone does not fit a small heap.
_SMALL = {
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    "num.network.threads": "2",
    "num.io.threads": "4",
}


def server_properties(
    folder: Path,
    port: int,
    controller_port: int,
    listeners: Sequence[Listener] = (),
    properties: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The content of `server.properties`; `properties` go before ours."""
    main = Listener("PLAINTEXT", port, port)
    every = [main, *listeners]
    opened = [f"{listener.name}://127.0.0.1:{listener.port}" for listener in every]
    node = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": ",".join([*opened, f"CONTROLLER://127.0.0.1:{controller_port}"]),
        "advertised.listeners": ",".join(
            f"{listener.name}://127.0.0.1:{listener.advertised_port}" for listener in every
        ),
        "listener.security.protocol.map": ",".join(
            ["CONTROLLER:PLAINTEXT", *(f"{listener.name}:{listener.protocol}" for listener in every)]
        ),
        "inter.broker.listener.name": main.name,
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        # Properties files treat a backslash as an escape.
        "log.dirs": str(folder).replace("\\", "\\\\"),
    }
    settings = node | _ONE_NODE | _STRICT | _QUICK | _SMALL | dict(properties)
    return "".join(f"{name}={value}\n" for name, value in settings.items())


#: Log4j's configuration: everything to standard output, which the broker's process sends to its log file.
LOGGING = """\
<Configuration status="WARN">
  <Appenders>
    <Console name="output"><PatternLayout pattern="%d %p %m (%c)%n"/></Console>
  </Appenders>
  <Loggers>
    <Root level="INFO"><AppenderRef ref="output"/></Root>
  </Loggers>
</Configuration>
"""
