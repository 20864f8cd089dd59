"""Filling the heads from examples."""
