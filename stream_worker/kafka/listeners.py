"""Each bootstrap server, one by one: does it take connections, and for how long is its certificate good?"""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509

from stream_worker.settings import Settings

_CONNECT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """`problem` is empty where it takes connections; `certificate_ends` is Unix time, None without TLS."""

    address: str
    problem: str = ""
    certificate_ends: float | None = None


def listeners(settings: Settings) -> Iterator[Listener]:
    protocol = str(settings.kafka.client.get("security.protocol", "plaintext")).lower()
    for server in settings.kafka.bootstrap_servers.split(","):
        address = server.strip().rpartition("://")[2]
        host, _, port = address.rpartition(":")
        yield _listener(address, host.strip("[]") or address, int(port) if port.isdigit() else 9092, "ssl" in protocol)


def _listener(address: str, host: str, port: int, tls: bool) -> Listener:
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_S) as connection:
            return Listener(address=address, certificate_ends=_certificate_ends(connection, host) if tls else None)
    except (OSError, ValueError) as error:
        return Listener(address=address, problem=getattr(error, "strerror", None) or type(error).__name__)


def _certificate_ends(connection: socket.socket, host: str) -> float:
    """Of whatever certificate is shown: librdkafka judges whether it is to be trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(connection, server_hostname=host) as secured:
        shown = secured.getpeercert(binary_form=True) or b""
    return x509.load_der_x509_certificate(shown).not_valid_after_utc.timestamp()
