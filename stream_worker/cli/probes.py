"""A worker's probes over HTTP."""

import urllib.error
import urllib.request

import orjson

_ANSWER_S = 3.0


def ask(url: str) -> bytes | None:
    """The body of whatever answer comes, a refusal's too; None where nobody answers."""
    if not url.startswith(("http://", "https://")):
        url = f"http://{url}"
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_S) as answer:  # noqa: S310 - http or https, by the line above
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        return error.read()
    except (OSError, ValueError):
        return None


def read_checks(body: bytes) -> dict[str, bool]:
    """What a probe says of each thing. What is no probe's answer holds nothing."""
    try:
        found = orjson.loads(body)
        return {str(name): bool(holds) for name, holds in found.items()}
    except (ValueError, AttributeError):
        return {"answers as a worker does": False}
