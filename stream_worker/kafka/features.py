"""What librdkafka was built with."""

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

_WANTED = ("ssl", "sasl_plain", "sasl_scram", "zstd")


def lacking_features() -> tuple[str, ...]:
    """Those of TLS, SASL and zstd that this build has not: asking for them is refused."""
    return tuple(feature for feature in _WANTED if not _has(feature))


def _has(feature: str) -> bool:
    try:
        AdminClient({"builtin.features": feature, "bootstrap.servers": "localhost", "log_level": 0})
    except KafkaException:
        return False
    return True
