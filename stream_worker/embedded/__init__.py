"""Brokers that come with the package: a real Kafka, and one in memory."""
