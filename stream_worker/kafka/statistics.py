"""What librdkafka tells of its clients, reduced to what an operator looks at. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

INTERVAL_MS = 5_000
"""How often a client tells. Its report is long where it has many partitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStatistics:
    """One client at a moment; `connections` and `errors` count since its start."""

    name: str
    """librdkafka's name for this very client: another one after it was replaced."""
    round_trip_s: float
    throttle_s: float
    queued: int
    connections: int
    errors: int


def read_statistics(report: str) -> ClientStatistics:
    """Of librdkafka's JSON report. Times are of its last window; of several brokers the worst one's counts."""
    fields: Mapping[str, Any] = orjson.loads(report)
    brokers = list(fields["brokers"].values())
    fetched = sum(
        partition["fetchq_cnt"] for topic in fields["topics"].values() for partition in topic["partitions"].values()
    )
    return ClientStatistics(
        name=fields["name"],
        round_trip_s=max((broker["rtt"]["avg"] for broker in brokers), default=0) / 1e6,
        throttle_s=max((broker["throttle"]["avg"] for broker in brokers), default=0) / 1e3,
        queued=fetched if fields["type"] == "consumer" else fields["msg_cnt"],
        connections=sum(broker["connects"] for broker in brokers),
        errors=sum(broker["txerrs"] + broker["rxerrs"] + broker["req_timeouts"] for broker in brokers),
    )
