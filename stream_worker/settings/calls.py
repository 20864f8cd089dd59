"""Which machines a bot's calls may reach."""

from pydantic import Field

from stream_worker.settings.base import Section


class CallSettings(Section):
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that bot files may call; `*.example.org` allows every host below it. None are allowed by default."""

    headers: dict[str, dict[str, str]] = Field(default_factory=dict, repr=False)
    """Headers by host, such as a key: `{api.example.org: {authorization: "Bearer ${file:/run/secrets/key}"}}`."""

    max_bytes: int = Field(default=256 * 1024, ge=1_024, le=16 * 1024 * 1024)
    """An answer larger than this counts as a failure."""
