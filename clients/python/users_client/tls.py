"""The files of mutual TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TlsFiles:
    """Mutual TLS, by files in PEM: the caller's certificate with what leads to its CA, its private key, and
    the CAs that the service's certificate may be of. The service must be called by a name, or an IP
    address, that its certificate has."""

    cert: str
    key: str
    ca: str

    def context(self) -> ssl.SSLContext:
        """Reads the files. Raises ValueError, which names the file, when they cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Checks the service's certificate, and its name.
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # As Python 3.13 does by itself.
        for file in (self.cert, self.key, self.ca):
            try:
                Path(file).read_bytes()
            except OSError as error:
                raise ValueError(f"{file} cannot be read: {error.strerror}") from error
        # OpenSSL does not say which of the two files of an identity is at fault.
        _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), self.cert)
        try:
            # With a password, an encrypted key is an error. Without one, OpenSSL asks at the terminal.
            context.load_cert_chain(self.cert, self.key, password="")
        except ssl.SSLError as error:
            if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
                raise ValueError(f"{self.key} is not the key of the certificate in {self.cert}") from error
            raise ValueError(f"{self.key} has no private key in PEM, or one that is encrypted") from error
        _trust(context, self.ca)
        return context


def _trust(context: ssl.SSLContext, file: str) -> None:
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        raise ValueError(f"{file} has no certificate in PEM") from error
