"""Identify callers: by the kernel's credentials of the socket's peer, over TCP by what the gate found to be valid."""

import asyncio
import grp
import os
import pwd
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, ClassVar

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from greenrun.api.serving.connections import BoundedProtocol
from greenrun.api.sign_in.shown import shown_by
from greenrun.clock import stopwatch
from greenrun.core.credentials import Credential
from greenrun.core.errors import NotPermitted
from greenrun.core.jobs.access import Viewer

GROUPS_FOR_S = 30.0  # how long it is not noticed that somebody joined a group or left it, or has another name
_UCRED = struct.Struct("i2I")  # struct ucred of unix(7): pid, uid, gid; a user id is never below 0, as nobody's is
_PREFIX = "uid:"


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


async def _caller(request: Request) -> Viewer:
    visitor = await visitor_of(request)
    if visitor is None:
        raise NotPermitted(
            "Callers cannot be identified at this address, so it serves no jobs: use greenrun's unix socket."
        )
    return visitor


async def visitor_of(request: Request) -> Viewer | None:
    """Return who asks, or None where nothing that can be trusted says so."""
    host = request.client.host if request.client else ""
    if shown := shown_by(request):
        credential = shown.credential
        viewer = await _viewer(request, credential.uid, credential.user)
        return replace(viewer, credential=credential, address=shown.address)
    if not host.startswith(_PREFIX):
        return None
    uid = int(host.removeprefix(_PREFIX))
    viewer = await _viewer(request, uid, await _name_of(uid))
    return replace(viewer, pid=request.client.port if request.client else None)


async def _viewer(request: Request, uid: int, name: str) -> Viewer:
    is_operator = uid in (0, os.getuid())
    groups: frozenset[str] = frozenset()
    if request.app.state.service.settings.access.names_groups:
        known = _GROUPS.get(uid)
        if known is None or known[1]() > GROUPS_FOR_S:
            known = _GROUPS[uid] = await run_in_threadpool(groups_of, name), stopwatch()
        groups = known[0]
    return Viewer(uid=uid, name=name, groups=groups, is_operator=is_operator)


async def has_account(credential: Credential) -> bool:
    """Whether the account that a credential was made by is there, with the same name and number; raise OSError.

    Where nobody can be asked now, what was known before holds.
    """
    known = _ACCOUNTS.get(credential.uid)
    if known is None or known[1]() > GROUPS_FOR_S:
        try:
            known = _ACCOUNTS[credential.uid] = await run_in_threadpool(_user_name, credential.uid), stopwatch()
        except OSError:
            if known is None:
                raise
    return known[0] == credential.user


async def _name_of(uid: int) -> str:
    """Return a user's name; raise OSError when it cannot be read now and has not been before.

    A number may be given to another account, so that it is asked again; without an answer the former name stays.
    """
    known = _NAMES.get(uid)
    if known is None or known[1]() > GROUPS_FOR_S:
        try:  # in a thread: a directory of users may be somewhere in the network
            name = await run_in_threadpool(_user_name, uid)
        except OSError:
            if known is None:
                raise
            return known[0]
        if known is not None and name == str(uid):
            name = known[0]
        known = _NAMES[uid] = name, stopwatch()
    return known[0]


def groups_of(name: str) -> frozenset[str]:
    """Return the groups of a user as the system's database has them now; none where it cannot be read."""
    try:
        ids = os.getgrouplist(name, pwd.getpwnam(name).pw_gid)
    except (KeyError, OSError):  # who has no account is in no group
        return frozenset()
    found = set()
    for gid in ids:
        with suppress(KeyError, OSError):
            found.add(grp.getgrgid(gid).gr_name)
    return frozenset(found)


def _user_name(uid: int) -> str:
    """Return a user's name, or the number of one without; raise OSError when it cannot be read now."""
    if uid in _OWN_NAMES:
        return _OWN_NAMES[uid]
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        os.close(os.open("/etc/passwd", os.O_RDONLY))  # where the C library cannot read it, it says that nobody has it
        return str(uid)


def learn_own_names() -> None:
    """Look up those who may do everything now: later there may be no descriptor left to read who they are."""
    for uid in {0, os.getuid()}:
        with suppress(KeyError):
            _OWN_NAMES[uid] = pwd.getpwuid(uid).pw_name


def operators() -> str:
    """Name root and the daemon's own user, who may see and touch everything, for a sentence."""
    own = os.getuid()
    return f"root and {_user_name(own)}, as whom the daemon runs" if own else "root"


_OWN_NAMES: dict[int, str] = {}  # of root and the daemon's own user, by uid
_NAMES: dict[int, tuple[str, Callable[[], float]]] = {}  # of users who have called, by uid, and how long they are known
_ACCOUNTS: dict[int, tuple[str, Callable[[], float]]] = {}  # the names that the system has for users, by uid
_GROUPS: dict[int, tuple[frozenset[str], Callable[[], float]]] = {}  # of users, by uid, and how long they are known


Caller = Annotated[Viewer, Depends(_caller)]
Visitor = Annotated[Viewer | None, Depends(visitor_of)]  # for what is shown to anybody, and more to those who are known
