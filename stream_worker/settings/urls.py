"""URLs that may carry a user and a password. Pure."""

import re

#: Up to the last `@`: a password that holds a `/` by mistake is one, too.
_CREDENTIALS = re.compile(r"(?<=://)\S*(?=@)")


def credentials_in(text: str) -> list[str]:
    """What stands before the host of each URL, and its password alone."""
    found = _CREDENTIALS.findall(text)
    return found + [password for each in found if (password := each.partition(":")[2])]


def without_credentials(text: str, mask: str = "***") -> str:
    """The text as a message may show it."""
    return _CREDENTIALS.sub(mask, text)
