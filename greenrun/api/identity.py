"""Identify callers by the kernel's credentials of the socket's peer; nothing in a request can claim an identity."""

import asyncio
import os
import pwd
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from greenrun.api.serving.connections import BoundedProtocol
from greenrun.core.errors import NotPermitted
from greenrun.core.jobs.job import Job, Origin

_UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_PREFIX = "uid:"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The user at the other end of the socket, by the process `pid`."""

    uid: int
    name: str
    pid: int | None = None

    @property
    def origin(self) -> Origin:
        """Where what this user asks for comes from, for the audit trail."""
        return Origin(uid=self.uid, pid=self.pid)

    @property
    def is_operator(self) -> bool:
        """Whether the daemon itself is this user's: root's, or its own user's."""
        return self.uid in (0, os.getuid())

    def may_control(self, job: Job) -> bool:
        """Whether this user may change the job or read its log: its submitter, root and the daemon's own user may."""
        return self.uid == job.uid or self.is_operator


class PeerProtocol(BoundedProtocol):
    """HTTP/1.1 whose client address is the peer's user id and process id; uvicorn itself hides the socket."""

    most: ClassVar[int] = 256

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel who connected, once per connection."""
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family == socket.AF_UNIX:
            pid, uid, _ = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
            self.client = (f"{_PREFIX}{uid}", pid)


async def _caller(request: Request) -> User:
    host = request.client.host if request.client else ""
    if not host.startswith(_PREFIX):
        raise NotPermitted(
            "Callers cannot be identified at this address, so it serves no jobs: use greenrun's unix socket."
        )
    uid = int(host.removeprefix(_PREFIX))
    name = _NAMES.get(uid)
    if name is None:  # in a thread: a directory of users may be somewhere in the network
        name = _NAMES[uid] = await run_in_threadpool(_user_name, uid)
    return User(uid=uid, name=name, pid=request.client.port if request.client else None)


def _user_name(uid: int) -> str:
    """Return a user's name, or the number of one without; raise OSError when it cannot be read now."""
    try:
        return _known_name(uid)
    except KeyError:
        os.close(os.open("/etc/passwd", os.O_RDONLY))  # where the C library cannot read it, it says that nobody has it
        return str(uid)


def learn_own_names() -> None:
    """Look up those who may do everything now: later there may be no descriptor left to read who they are."""
    for uid in {0, os.getuid()}:
        with suppress(KeyError):
            _known_name(uid)


@lru_cache(maxsize=1024)
def _known_name(uid: int) -> str:
    return pwd.getpwuid(uid).pw_name


_NAMES: dict[int, str] = {}  # of users who have called, by uid


Caller = Annotated[User, Depends(_caller)]


def require_operator(caller: User, what: str) -> None:
    """Raise NotPermitted, naming `what` was asked, unless the caller is root or the daemon's own user."""
    if not caller.is_operator:
        raise NotPermitted(f"Only root and {_user_name(os.getuid())}, as whom the daemon runs, may {what}.")


def require_control(caller: User, job: Job) -> Job:
    """Return the job; raise NotPermitted when the caller may not change it."""
    if not caller.may_control(job):
        raise NotPermitted(f"Job {job.id} belongs to {job.user}: {caller.name} may look at it but not touch it.")
    return job
