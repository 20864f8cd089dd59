"""The window of event ids by which duplicates are recognised. Pure.

A window is one string of fixed-width digests: looking one up is a substring
search and remembering one a slice, both far cheaper than a set that would
have to be rebuilt with every new state.
"""

from collections.abc import Iterable

_DIGEST_CHARS = 16
_STRIDE = _DIGEST_CHARS + 1


def digest(identity: str) -> str:
    """64 bits of an event's identity: enough to tell the ids of one conversation apart."""
    return identity[:_DIGEST_CHARS]


def remembers(window: str, event_digest: str) -> bool:
    return event_digest in window


def remember(window: str, digests: Iterable[str], size: int) -> str:
    """The window with these digests added, the oldest ones beyond `size` forgotten."""
    if size == 0:
        return ""
    for event_digest in digests:
        window += event_digest + " "
    return window[-size * _STRIDE :]
