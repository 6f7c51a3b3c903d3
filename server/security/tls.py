"""TLS of the server: the certificate, its key and the clients' authorities, taken from disk again when they change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import PublicKeyAlgorithmOID

from server.security.reloaded import Reloaded, content
from shoprank.errors import UserError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PublicKeyTypes

    from server.security.settings import Security

MAX_PEM_BYTES = 1_000_000
MIN_RSA_BITS = 2_048
RSA = PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5
"""What a certificate says of an RSA key that is not for PSS signatures alone."""


@dataclass(frozen=True, slots=True)
class Served:
    """What gRPC serves with, and when its certificate ends."""

    configuration: grpc.ServerCertificateConfiguration
    expires: datetime


def reloaded(security: Security) -> Reloaded[Served] | None:
    """TLS as the settings want it, read again when its files change; None where they want none.

    Raises UserError where the files cannot be used; where they change into something that cannot, it is logged and the
    former keep serving.
    """
    certificate, key, client_ca = security.certificate, security.key, security.client_ca
    if certificate is None or key is None:
        return None
    files = [file for file in (certificate, key, client_ca) if file]
    return Reloaded(files, lambda: read(certificate, key, client_ca), interval=0)


def server_credentials(current: Reloaded[Served], client_certificates: bool) -> grpc.ServerCredentials:
    """Credentials of what is served now. client_certificates: whether every client must show one.

    Connections that stand keep the certificate they began with; new ones get what lies on disk.
    """
    served = current.value

    def changed() -> grpc.ServerCertificateConfiguration | None:
        """Asked by gRPC before every handshake; None for no change."""
        nonlocal served
        if (found := current.value) is served:
            return None
        served = found
        return found.configuration

    return grpc.dynamic_ssl_server_credentials(served.configuration, changed, client_certificates)  # type: ignore[arg-type]  # stubs lack None


def read(certificate: Path, key: Path, client_ca: Path | None) -> Served:
    """What the files say.

    Raises UserError where they do not fit together, where it is not their time, and for keys that it does not serve.
    """
    chain_pem, key_pem = content(certificate, MAX_PEM_BYTES), content(key, MAX_PEM_BYTES)
    leaf = _certificates(certificate, chain_pem)[0]
    now = datetime.now(UTC)
    if leaf.not_valid_after_utc <= now:
        raise UserError(f"{certificate}: expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC")
    if leaf.not_valid_before_utc > now:
        raise UserError(f"{certificate}: not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC")
    if not _is_served(leaf):
        raise UserError(f"{certificate}: is served with RSA keys of {MIN_RSA_BITS} bits or more, P-256 and P-384 alone")
    if _spki(leaf.public_key()) != _spki(_public_key(key, key_pem)):
        raise UserError(f"{key}: is not the key of {certificate}")
    roots = None
    if client_ca is not None:
        roots = content(client_ca, MAX_PEM_BYTES)
        _certificates(client_ca, roots)
    made = grpc.ssl_server_certificate_configuration([(key_pem, chain_pem)], roots)
    return Served(made, leaf.not_valid_after_utc)


def _is_served(certificate: x509.Certificate) -> bool:
    """Whether gRPC's TLS takes the key, and its clients too."""
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return False
    if isinstance(key, rsa.RSAPublicKey):
        return certificate.public_key_algorithm_oid == RSA and key.key_size >= MIN_RSA_BITS
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)


def _certificates(file: Path, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise UserError(f"{file}: no PEM certificates: {error}") from error


def _public_key(file: Path, pem: bytes) -> PublicKeyTypes:
    try:
        return load_pem_private_key(pem, password=None).public_key()
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise UserError(f"{file}: no PEM private key that can be used; it must not be encrypted") from error


def _spki(key: PublicKeyTypes | CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
