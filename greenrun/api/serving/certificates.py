"""The certificate and key of the TLS listener: files that are read again on request, for connections from then on."""

import ssl
from pathlib import Path

from greenrun.core.errors import ConfigError


class Certificates:
    """A TLS context of a server (TLS 1.2 at least); what it is given by `reload` holds for new connections."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read both; raise ConfigError where they cannot be used."""
        self._certificate, self._key = certificate, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.reload()

    def reload(self) -> None:
        """Read both again; raise ConfigError where they cannot be used, and then those before hold."""
        self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a context that took a certificate alone would be spoilt
        self._load(self.context)

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            if self._key.stat().st_mode & 0o004:
                raise ConfigError(
                    f"api.tls_key: everybody on this machine may read the key {self._key}, so it is not used: "
                    "chmod 600 it, or take another."
                )
            context.load_cert_chain(self._certificate, self._key, password="")
        except OSError as exc:  # of OpenSSL, too
            said = _said(exc.reason) if isinstance(exc, ssl.SSLError) else exc.strerror
            raise ConfigError(
                f"api.tls_certificate, api.tls_key: {self._certificate} and {self._key} cannot be used ({said}): both "
                "must be PEM, the key without a password and that of the first certificate."
            ) from exc


def _said(reason: str | None) -> str:
    return (reason or "not valid").replace("_", " ").lower()
