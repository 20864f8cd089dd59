"""A worker's `/metrics`, read over HTTP as Prometheus does."""

import socket
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from stream_worker.observability.metric_table import PREFIX

_OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scrape(port: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by its name, without our prefix, and labels; nothing where nobody listens."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": _OPEN_METRICS})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return {
        (sample.name.removeprefix(f"{PREFIX}_"), frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(port: int, name: str, **labels: str) -> float | None:
    return scrape(port).get((name, frozenset(labels.items())))
