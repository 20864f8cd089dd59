"""Exactly-once chat processing: Kafka in, language-model replies out."""

__version__ = "0.1.0"
