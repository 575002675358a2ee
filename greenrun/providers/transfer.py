"""What is trusted over TLS, and how an answer is unpacked: never more of it than may be used."""

import os
import ssl
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import httpx

ACCEPTED = "gzip, deflate"
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # as other tools have them; SSL_CERT_FILE is OpenSSL's own

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Unpacked:
    """A body as it comes, unpacked up to `most` bytes: a few kilobytes may stand for gigabytes.

    An encoding that was not asked for is left as it is, for nobody to read.
    """

    def __init__(self, encoding: str, most: int) -> None:
        self._encoding = encoding.strip().lower()
        self._most = most
        self._unpack = zlib.decompressobj(_GZIP if self._encoding in ("gzip", "x-gzip") else _ZLIB)
        self._is_packed = self._encoding in ("gzip", "x-gzip", "deflate")
        self._begun = False
        self._body = bytearray()

    @property
    def body(self) -> bytes:
        """What has come so far."""
        return bytes(self._body)

    def add(self, chunk: bytes) -> bool:
        """Take a part of the body; return whether that is enough."""
        room = self._most - len(self._body)
        self._body += self._unpacked(chunk, room) if self._is_packed else chunk[:room]
        return len(self._body) >= self._most

    def _unpacked(self, chunk: bytes, room: int) -> bytes:
        first, self._begun = not self._begun, True
        try:
            return self._unpack.decompress(chunk, room)
        except zlib.error as exc:
            if first and self._encoding == "deflate":  # some send it without its header
                self._unpack = zlib.decompressobj(_RAW)
                return self._unpack.decompress(chunk, room)
            raise OSError(f"it cannot be unpacked ({exc})") from exc


@cache
def trusted_authorities() -> ssl.SSLContext:
    """Return the TLS context with the trusted authorities; loading them takes longer than a request."""
    return trusted_by(os.environ)


def trusted_by(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return a context that trusts the bundle which the environment names, else the system's store.

    SSL_CERT_FILE and SSL_CERT_DIR name the system's store elsewhere. Where there is none at all, the list that comes
    with httpx is used. Raise OSError saying which bundle cannot be read.
    """
    named = next((environ[name] for name in BUNDLES if environ.get(name)), None)
    if named is not None:
        return _bundle(named, next(name for name in BUNDLES if environ.get(name)))
    stated = {name: environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if environ.get(name)}
    for name, path in stated.items():
        if not Path(path).exists():
            raise OSError(f"{name} names {path}, which does not exist")
    context = ssl.create_default_context()
    is_empty = not stated and not context.cert_store_stats()["x509_ca"] and not _has_store()
    return httpx.create_ssl_context(trust_env=False) if is_empty else context


def _bundle(path: str, name: str) -> ssl.SSLContext:
    try:
        if Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as exc:  # SSLError is one
        raise OSError(f"{name} names {path}, which holds no certificates that can be read ({exc})") from exc


def _has_store() -> bool:
    """Whether the system has a folder of certificates, which are read one by one as they are needed."""
    folder = ssl.get_default_verify_paths().capath
    return folder is not None and Path(folder).is_dir() and any(Path(folder).iterdir())
