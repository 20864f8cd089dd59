"""The broker of tests/kafka, for workers that a real Prometheus scrapes."""

from tests.kafka.conftest import broker, settings_for

__all__ = ["broker", "settings_for"]
