"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_FILE = Path("stream-worker.yaml")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The settings file; without it ./stream-worker.yaml, if there is one."),
]
KafkaOption = Annotated[str | None, typer.Option("--kafka", help="Brokers, host:port; wins over file and environment.")]

TenantOption = Annotated[str, typer.Option("--tenant", help="Whose conversation it is, where admission.tenants is on.")]


def settings_file(given: Path | None) -> Path | None:
    """The file to read; none where neither one was named nor the usual one is there."""
    if given is None and DEFAULT_FILE.is_file():
        return DEFAULT_FILE
    return given


def require_tenant(tenant: str, *, tenants: bool) -> None:
    """Without it the worker would refuse the event; with it where it expects none, the key would be wrong."""
    if tenants and not tenant:
        raise typer.BadParameter("admission.tenants is on: say whose conversation it is", param_hint="--tenant")
    if tenant and not tenants:
        raise typer.BadParameter("admission.tenants is off", param_hint="--tenant")


def flags(kafka: str | None) -> dict[str, object]:
    """Overrides from the options that were given."""
    return {} if kafka is None else {"kafka.bootstrap_servers": kafka}
