"""Value types of settings, except those shared with providers."""

import json
from collections.abc import Iterable
from ipaddress import ip_address
from re import ASCII, fullmatch
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, PlainSerializer
from pydantic_settings import NoDecode

_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class Address(NamedTuple):
    """Where to listen on TCP; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or ip_address(self.host).is_loopback


def parse_address(value: object) -> Address | None:
    """Return the address that `host:port` states, None for ""; raise ValueError."""
    if isinstance(value, Address):
        return value
    if value is None or value == "":
        return None
    host, _, port = str(value).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not fullmatch(r"\d{1,5}", port, ASCII) or int(port) > 65_535 or not _is_host(host):
        raise ValueError(f'{value!r} is not an address and a port; write it like "127.0.0.1:9753", or "" for off')
    return Address(host, int(port))


def parse_bytes(value: object) -> int:
    """Return the number of bytes that an integer or text like "512MiB" states; raise ValueError."""
    match = fullmatch(r"(\d{1,15})\s*([A-Za-z]*)", str(value).strip(), ASCII)
    if isinstance(value, bool) or match is None or match[2].upper() not in _BYTES:
        raise ValueError(f'{value!r} is not a size; write it like "1GiB", "500MB" or a number of bytes')
    return int(match[1]) * _BYTES[match[2].upper()]


def parse_names(value: object) -> tuple[str, ...]:
    """Return the names in a list, or in text that separates them by commas or is a JSON list, each once.

    Raise ValueError for anything else.
    """
    parts = _split(value) if isinstance(value, str) else value
    if not isinstance(parts, Iterable) or isinstance(parts, dict):
        raise ValueError(f"{value!r} is not a name or a list of names")
    return tuple(dict.fromkeys(name for part in parts if (name := str(part).strip())))


def _split(text: str) -> object:
    return json.loads(text) if text.lstrip().startswith("[") else text.split(",")


def _is_host(host: str) -> bool:
    try:
        return host == "localhost" or bool(ip_address(host))
    except ValueError:
        return False


OptionalAddress = Annotated[
    Address | None,
    NoDecode,
    BeforeValidator(parse_address),
    PlainSerializer(lambda address: str(address or ""), return_type=str),
]
Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_names)]
