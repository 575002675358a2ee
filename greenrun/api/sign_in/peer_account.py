"""Whose process is at the other end of a TCP connection within this machine: the kernel knows, as of a unix socket.

A browser's command line is seen by all users, and so is a ticket in it; and browsers send the cookies of a host to all
its ports, where another user may listen. Both are then of no use to that user.
"""

import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

FIRST_PERSON = 1000  # accounts below are the system's: a proxy's, say, which speaks for others
NOBODY = 65534
_TABLES = {socket.AF_INET: "tcp", socket.AF_INET6: "tcp6"}


def is_of_another_user(uid: int, client: Sequence[str | int] | None, server: Sequence[str | int] | None) -> bool:
    """Whether a connection, told by its two ends, is one that a process of another person's has made on this machine.

    From elsewhere, and where nobody can tell, it is not known to be.
    """
    found = uid_of_peer(client, server) if client and server else None
    return found is not None and found != uid and found >= FIRST_PERSON and found != NOBODY


def uid_of_peer(client: Sequence[str | int], server: Sequence[str | int], proc: Path = Path("/proc/net")) -> int | None:
    """Return whose process made a connection from `client` to `server` on this machine; None where it is not known."""
    with suppress(OSError, ValueError):
        for family, name in _TABLES.items():
            ends = [_hex(end, family) for end in (client, server)]
            for row in _rows(proc / name):
                if row[1:3] == ends:  # local and remote as the one who connected has them
                    return int(row[7])
    return None


def _rows(table: Path) -> Iterator[list[str]]:
    with suppress(FileNotFoundError), table.open(encoding="ascii") as lines:
        next(lines, None)
        for line in lines:
            yield line.split()


def _hex(end: Sequence[str | int], family: int) -> str:
    """Return an end as the kernel's table has it: words of the address in the machine's own order, and the port."""
    address = ip_address(str(end[0]))
    if address.version == 4 and family == socket.AF_INET6:
        packed = bytes(10) + b"\xff\xff" + address.packed
    elif address.version == 6 and family == socket.AF_INET:
        packed = b""
    else:
        packed = address.packed
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{int(end[1]):04X}"
