"""Kafka as the worker sees it: protocols, the ledger, the outbox, and the clients behind them."""
