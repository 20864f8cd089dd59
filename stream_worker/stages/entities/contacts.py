"""Phones (E.164), e-mail addresses and URLs, by phonenumbers and linkify-it. Pure."""

import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from stream_worker.stages.entities.context import Context
from stream_worker.stages.entities.found import Found

if TYPE_CHECKING:
    from linkify_it import LinkifyIt

_MAIL = "mailto:"
_EAST_ASIAN = re.compile(r"[\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef]")
"""Letters and marks of scripts that need no space around a link."""


def phones(text: str, context: Context) -> list[Found]:
    """Numbers that exist in the region, or carry a country's code."""
    from phonenumbers import PhoneNumberFormat, PhoneNumberMatcher, format_number

    return [
        Found(match.start, match.end, format_number(match.number, PhoneNumberFormat.E164))
        for match in PhoneNumberMatcher(text, context.region)
    ]


def emails(text: str, _: Context) -> list[Found]:
    """The domain in lower case: before the @ case may count."""
    found: list[Found] = []
    for start, end, url in _links(text):
        if url.startswith(_MAIL):
            name, _at, domain = text[start:end].removeprefix(_MAIL).rpartition("@")
            shift = len(_MAIL) if text[start:end].startswith(_MAIL) else 0
            found.append(Found(start + shift, end, f"{name}@{domain.lower()}"))
    return found


def urls(text: str, _: Context) -> list[Found]:
    """With a scheme, and the host in lower case."""
    return [Found(start, end, _normal(url)) for start, end, url in _links(text) if not url.startswith(_MAIL)]


def _normal(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # an address in brackets that is none
        return url
    return urlunsplit(parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower()))


def _links(text: str) -> list[tuple[int, int, str]]:
    # With a space for each of them: in "写信给bob@x.org谢谢" they are no part of the address.
    spaced = _EAST_ASIAN.sub(" ", text)
    return [(match.index, match.last_index, match.url) for match in _linkify().match(spaced) or ()]


@lru_cache(maxsize=1)
def _linkify() -> "LinkifyIt":
    from linkify_it import LinkifyIt

    # Of the schemes only those of the web: `//` and `ftp:` are seldom meant in a chat.
    return LinkifyIt({"//": None, "ftp:": None})
