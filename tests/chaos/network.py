"""The network between a worker and the broker, through Toxiproxy: it can be cut, delayed and throttled.

Toxiproxy is a kept proxy for tests (Go). The binary `toxiproxy-server` is taken from the PATH, or else built once
with `go install` into a cache folder. Without either a run goes on without faults of the network, and says so.
"""

import os
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from stream_worker.cache import cache_folder
from tests.eventually import eventually

_MODULE = "github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0"
_BUILD_S = 300.0
_CALL_S = 5.0


def find_toxiproxy() -> Path | None:
    """The server's binary; None where it is not on the PATH and cannot be built."""
    if found := shutil.which("toxiproxy-server"):
        return Path(found)
    folder = cache_folder("tools")
    built = folder / "server"
    if not built.exists() and shutil.which("go"):
        folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"GOBIN": str(folder), "GOFLAGS": "-mod=mod"}
        subprocess.run(["go", "install", _MODULE], env=environment, timeout=_BUILD_S, check=False, capture_output=True)
    return built if built.exists() else None


class Network:
    """Proxies by name, each from a port of its own to one listener of the broker."""

    def __init__(self, binary: Path, folder: Path, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}"
        self._log = (folder / "toxiproxy.log").open("ab")
        command = [str(binary), "-host", "127.0.0.1", "-port", str(port)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        eventually(self._is_up)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def connect(self, name: str, port: int, upstream: int) -> None:
        fields = {"name": name, "listen": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{upstream}", "enabled": True}
        self._call("POST", "/proxies", fields)

    def cut(self, name: str) -> None:
        self._call("POST", f"/proxies/{name}", {"enabled": False})

    def delay(self, name: str, ms: int) -> None:
        self._toxic(name, "latency", {"latency": ms, "jitter": ms // 2})

    def throttle(self, name: str, kilobytes: int) -> None:
        self._toxic(name, "bandwidth", {"rate": kilobytes})

    def heal(self) -> None:
        """All proxies are as at the start."""
        self._call("POST", "/reset", {})

    def _toxic(self, name: str, kind: str, attributes: dict[str, int]) -> None:
        self._call("POST", f"/proxies/{name}/toxics", {"type": kind, "attributes": attributes})

    def _is_up(self) -> bool:
        try:
            self._call("GET", "/version")
        except urllib.error.URLError:
            return False
        return True

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        data = None if body is None else orjson.dumps(body)
        request = urllib.request.Request(f"{self._api}{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=_CALL_S):
            pass
