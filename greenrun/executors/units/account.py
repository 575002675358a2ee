"""The account of a user, and reading and writing files with no more rights than it has.

Root that follows a path which a user may change reads and writes what that user may not: every link on the way would be
followed. So all that lies in a user's folders, or is named by a user, is opened inside `acting_as`: the kernel then
decides with the user's own ids, whatever the path turns out to be.
"""

import ctypes
import os
import platform
import pwd
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from time import monotonic

from greenrun.core.errors import ExecutorError

KNOWN_FOR_S = 60.0  # then the system is asked again: a directory of users may be somewhere in the network
_SETGROUPS = {"x86_64": 116, "aarch64": 159, "ppc64le": 81, "s390x": 206, "riscv64": 159}  # of this thread alone
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user as the system knows it. `groups` are all it is in."""

    uid: int
    gid: int
    name: str
    groups: tuple[int, ...] = field(default=())


def account_of(uid: int) -> Account:
    """Return a user's account; raise ExecutorError where there is none, or it cannot be looked up now."""
    try:
        return _known(uid, int(monotonic() // KNOWN_FOR_S))
    except (KeyError, OSError) as exc:
        raise ExecutorError(
            f"the user {uid} has no account on this machine now, so nothing is done as this user; "
            "greenrun tries again (see: getent passwd)"
        ) from exc


@lru_cache(maxsize=1024)
def _known(uid: int, period: int) -> Account:
    found = pwd.getpwuid(uid)
    groups = os.getgrouplist(found.pw_name, found.pw_gid)
    return Account(uid=uid, gid=found.pw_gid, name=found.pw_name, groups=tuple(groups))


@contextmanager
def acting_as(account: Account) -> Iterator[None]:
    """Let this thread open files as this user for the block, and no other thread; raise OSError if it may not.

    A process that is the user's already changes nothing. No thread may be started inside the block: it would stay so.
    """
    if account.uid == os.geteuid():
        yield
        return
    before = os.getgroups()
    try:
        _take(account.uid, account.gid, account.groups)
        yield
    finally:
        _take(os.geteuid(), os.getegid(), before)


def _take(uid: int, gid: int, groups: Sequence[int]) -> None:
    """Set the ids by which this thread's files are judged; raise OSError. Root's rights over files go and come with it.

    Back at root's, the user id comes first, as only root may set the groups; on the way to a user it comes last.
    """
    is_back = uid == os.geteuid()
    steps = [(_libc.setfsuid, uid), (_libc.setfsgid, gid)]
    if is_back:
        _set(*steps[0])
    _set_groups(groups)
    _set(*steps[1])
    if not is_back:
        _set(*steps[0])


def _set(call: Callable[..., int], number: int) -> None:
    """Call setfsuid(2) or setfsgid(2), which tell of no failure: only what holds afterwards does."""
    call(ctypes.c_uint(number))
    if ctypes.c_uint(call(ctypes.c_uint(0xFFFFFFFF))).value != number:
        raise PermissionError("this process may not act as another user (its unit lacks CAP_SETUID or CAP_SETGID)")


def _set_groups(groups: Sequence[int]) -> None:
    number = _SETGROUPS.get(platform.machine())
    if number is None:
        raise PermissionError(f"greenrun does not know how to act as another user on {platform.machine()}")
    ids = (ctypes.c_uint * len(groups))(*groups)
    if _libc.syscall(ctypes.c_long(number), ctypes.c_size_t(len(groups)), ids):
        error = ctypes.get_errno()
        raise OSError(error, f"this process may not take a user's groups ({os.strerror(error)})")


def may(path: str | os.PathLike[str], wanted: int) -> bool:
    """Return whether this thread, acting as a user, could open a file so (os.R_OK, os.W_OK, os.X_OK); as os.access.

    The sandbox of the daemon's unit leaves the file systems readable to it alone. A job is not in it, so what only that
    forbids counts as allowed if the file's mode does not forbid it, too.
    """
    if os.access(path, wanted, effective_ids=True):
        return True
    uid = ctypes.c_uint(_libc.setfsuid(ctypes.c_uint(0xFFFFFFFF))).value
    if uid == os.geteuid() or not wanted & os.W_OK:
        return False
    try:
        found, is_read_only = Path(path).stat(), os.statvfs(path).f_flag & os.ST_RDONLY
        has_list = "system.posix_acl_access" in os.listxattr(path)
    except OSError:
        return False
    if not is_read_only or not os.access(path, wanted & ~os.W_OK, effective_ids=True):
        return False
    if has_list or found.st_uid == uid:
        return has_list or bool(found.st_mode & stat.S_IWUSR)
    return bool(found.st_mode & (stat.S_IWGRP if found.st_gid in _groups_now() else stat.S_IWOTH))


def _groups_now() -> set[int]:
    """Return the groups by which this thread's files are judged."""
    lines = Path("/proc/thread-self/status").read_text(encoding="ascii", errors="replace").splitlines()
    rows = dict(line.partition(":")[::2] for line in lines)
    return {int(rows["Gid"].split()[3]), *map(int, rows["Groups"].split())}
