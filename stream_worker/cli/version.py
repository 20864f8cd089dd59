"""`version`: the worker's version and those of what it stands on."""

import platform
from importlib import metadata

from stream_worker import __version__
from stream_worker.cli.output import Format, FormatOption, print_rows
from stream_worker.cli.outputs.machine import InstalledVersion

EPILOG = "Example: stream-worker version -o json"

_PACKAGES = ("confluent-kafka", "torch", "transformers", "rocksdict", "pydantic")


def version(output: FormatOption = Format.TABLE) -> None:
    """Show the versions of the worker and what it stands on."""
    versions = {"stream-worker": __version__, "python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in _PACKAGES}
    rows = [InstalledVersion(name=name, version=number) for name, number in versions.items()]
    print_rows(rows, ("name", "version"), output)
