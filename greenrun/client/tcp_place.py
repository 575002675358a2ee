"""A daemon on another machine: GREENRUN_URL says where it is, GREENRUN_TOKEN_FILE names what lets one in."""

import os
import socket
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from greenrun.core.errors import ConfigError

URL, TOKEN_FILE = "GREENRUN_URL", "GREENRUN_TOKEN_FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpPlace:
    """An address and the token that is shown there; it is told as its address alone."""

    host: str
    port: int
    is_tls: bool
    token: str = field(repr=False)

    def __str__(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://{self.authority}"

    @property
    def authority(self) -> str:
        """The host and port as a request names them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What a request there says."""
        return {"Host": self.authority, "Authorization": f"Bearer {self.token}"}

    def connect(self, timeout_s: float) -> socket.socket:
        """Return a connection; raise OSError, also where its certificate is not trusted."""
        plain = socket.create_connection((self.host, self.port), timeout_s)
        if not self.is_tls:
            return plain
        import ssl  # where it is not used it costs a command nothing

        try:
            return ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)
        except OSError:
            plain.close()
            raise


def find_tcp_place() -> TcpPlace | None:
    """Return the daemon that GREENRUN_URL names, None without one; raise ConfigError where it cannot be used."""
    url = os.environ.get(URL)
    if not url:
        return None
    try:
        found = urlsplit(url)
        host, port = found.hostname, found.port
    except ValueError as exc:
        raise ConfigError(f"{URL} is no address ({exc}): write it as https://gpu1.example:9754") from exc
    if found.scheme not in ("http", "https") or not host or found.username or found.path not in ("", "/"):
        raise ConfigError(f"{URL} is not like https://gpu1.example:9754: it has a host and a port, and nothing else")
    if found.scheme == "http" and not _is_loopback(host):
        raise ConfigError(
            f"{URL} is http://, and whoever is between could read the token, so nothing was sent: "
            "use https://, or `ssh -L` and http://127.0.0.1"
        )
    return TcpPlace(host=host, port=port or (443 if found.scheme == "https" else 80), is_tls=found.scheme == "https",
                    token=_token())  # fmt: skip


def _token() -> str:
    named = os.environ.get(TOKEN_FILE)
    if not named:
        raise ConfigError(
            f"{URL} is set and {TOKEN_FILE} is not: name a file with a token of `greenrun token create` on that machine"
        )
    file = Path(named).expanduser()
    try:
        if file.stat().st_mode & 0o004:
            raise ConfigError(f"everybody on this machine may read the token in {file}: chmod 600 it")
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as exc:
        raise ConfigError(f"the token in {file} cannot be read ({exc}): see {TOKEN_FILE}") from exc
    if not token or not token.isprintable() or " " in token:
        raise ConfigError(f"{file} holds no token: write what `greenrun token create` prints into it")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
