"""Our own certificate for TLS, where one is set: until when it is good."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from stream_worker.errors import Code, Misconfigured
from stream_worker.settings import Settings


def client_certificate_expiry(settings: Settings) -> float | None:
    """Unix time at which the client certificate ends; None where none is set. Raises Misconfigured.

    librdkafka reads the certificate once, so what was read at the start is what counts.
    """
    client = settings.kafka.client
    try:
        certificate = _certificate(
            pem=str(client.get("ssl.certificate.pem", "")),
            pem_file=str(client.get("ssl.certificate.location", "")),
            key_store=str(client.get("ssl.keystore.location", "")),
            password=str(client.get("ssl.keystore.password", "")),
        )
    except (OSError, ValueError) as error:
        raise Misconfigured(
            Code.CONFIG_INVALID_VALUE,
            f"kafka.client: the client certificate cannot be read ({type(error).__name__}): check "
            "ssl.certificate.location, or ssl.keystore.location and its password",
        ) from error
    return None if certificate is None else certificate.not_valid_after_utc.timestamp()


def _certificate(*, pem: str, pem_file: str, key_store: str, password: str) -> x509.Certificate | None:
    if pem:
        return x509.load_pem_x509_certificate(pem.encode())
    if pem_file:
        return x509.load_pem_x509_certificate(Path(pem_file).read_bytes())
    if key_store:
        return pkcs12.load_key_and_certificates(Path(key_store).read_bytes(), password.encode())[1]
    return None
