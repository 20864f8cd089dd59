"""The settings: one frozen tree, one file a sub-tree. Nothing else reads the environment."""

from stream_worker.settings.root import Settings

__all__ = ["Settings"]
