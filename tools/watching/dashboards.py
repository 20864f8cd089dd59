"""All dashboards, and the metrics that none of them shows."""

from stream_worker.observability.metric_table import Metric
from tools.watching.inference import INFERENCE
from tools.watching.kafka import KAFKA
from tools.watching.overview import OVERVIEW

DASHBOARDS = (OVERVIEW, INFERENCE, KAFKA)

#: Metrics that no panel shows and no rule uses, and why.
NOT_SHOWN: dict[Metric, str] = {}
