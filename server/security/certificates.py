"""Client certificates as callers: TLS has verified them, the file of principals says what they may do."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from server.security.principals import Principals
from server.security.reloaded import Reloaded
from server.security.remembered import Remembered
from server.security.roles import Principal
from shoprank.errors import Unauthenticated

_KINDS = (
    ("dns", x509.DNSName),
    ("uri", x509.UniformResourceIdentifier),
    ("email", x509.RFC822Name),
    ("ip", x509.IPAddress),
)


class _State:
    """The certificates of one state of the file."""

    def __init__(self, file: Path, remembered: int) -> None:
        self.known = {
            entry.san or f"subject:{entry.subject}": entry.principal("certificate")
            for entry in Principals.read(file).certificate
        }
        self.remembered = Remembered(remembered)


class Certificates:
    """Knows callers by their verified certificate; the file is read again when it changes. Raises UserError."""

    def __init__(self, file: Path, remembered: int) -> None:
        self._state = Reloaded([file], lambda: _State(file, remembered))

    def principal(self, pem: bytes, now: float) -> Principal:
        """Whose certificate it is, of the first of its names that the file knows: alternative names, then subject.

        The certificate ends at its own `notAfter` too, on connections that were made before. Raises Unauthenticated.
        """
        state = self._state.value
        if known := state.remembered.get(pem, now):
            return known
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            found_names = names(certificate)
        except ValueError as error:
            raise Unauthenticated("the client certificate is malformed") from error
        for name in found_names:
            if entry := state.known.get(name):
                expires = min(entry.expires, certificate.not_valid_after_utc.timestamp())
                if now >= expires:
                    raise Unauthenticated("the client certificate, or its entry, has expired")
                found = Principal(entry.name, entry.roles, expires)
                state.remembered.put(pem, found)
                return found
        raise Unauthenticated("the client certificate is not of a known caller")


def names(certificate: x509.Certificate) -> list[str]:
    """The certificate's names as the file of principals writes them."""
    found = []
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        pass
    else:
        for kind, of in _KINDS:
            found += [f"{kind}:{value}" for value in alternative.get_values_for_type(of)]
    return [*found, f"subject:{certificate.subject.rfc4514_string()}"]
