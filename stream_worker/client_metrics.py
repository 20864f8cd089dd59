"""librdkafka's statistics as metrics. Called on the thread that polls a client, which is the worker's."""

from stream_worker.kafka.statistics import ClientStatistics
from stream_worker.observability.metric_table import KafkaClient, Metric
from stream_worker.observability.metrics import Metrics


class ClientMetrics:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._last: dict[KafkaClient, ClientStatistics] = {}

    def tell(self, role: str, now: ClientStatistics) -> None:
        """`role` is a `KafkaClient`."""
        client = KafkaClient(role)
        put, count = self._metrics.set, self._metrics.count
        put(Metric.CLIENT_ROUND_TRIP, now.round_trip_s, client)
        put(Metric.CLIENT_THROTTLE, now.throttle_s, client)
        put(Metric.CLIENT_QUEUED, now.queued, client)
        last = self._last.get(client)
        # A client that was replaced begins to count at 0.
        connections, errors = (last.connections, last.errors) if last and last.name == now.name else (0, 0)
        count(Metric.CLIENT_CONNECTIONS, client, amount=max(0, now.connections - connections))
        count(Metric.CLIENT_ERRORS, client, amount=max(0, now.errors - errors))
        self._last[client] = now
