"""Certificates made for a test."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

_HERE = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]


def self_signed(folder: Path, days: float, name: str = "client") -> tuple[Path, Path]:
    """A certificate for this machine that ends in so many days, and its key, as PEM files."""
    certificate, key = _made(days)
    pem, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, key_file


def key_store(folder: Path, days: float, password: str) -> Path:
    """The same as a PKCS #12 file."""
    certificate, key = _made(days)
    file = folder / "client.p12"
    secret = serialization.BestAvailableEncryption(password.encode())
    file.write_bytes(pkcs12.serialize_key_and_certificates(b"client", key, certificate, None, secret))
    return file


def _made(days: float) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1000))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(_HERE), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key
