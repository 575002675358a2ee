"""The socket and the lock of the state folder: whoever removes or replaces one, it is had again, or told."""

import fcntl
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import structlog

from greenrun.api.serving.server import ServerHandle
from greenrun.core.conditions import Condition, ConditionCode, Effect
from greenrun.core.errors import ConfigError, GreenrunError

LOCK = "daemon.lock"

log = structlog.get_logger("greenrun.daemon.doors")


class StateLock:
    """The lock that keeps a second daemon out of a state folder: on a file in it, and on the folder itself.

    The file can be removed while it is locked, and another daemon lock a new one; the folder cannot.
    """

    def __init__(self, state: Path) -> None:
        """Lock the folder, made if it is missing; raise GreenrunError if another daemon holds it."""
        self._path = state / LOCK
        self._folder = self._file = -1
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._file = _open_lock(self._path)
        except OSError as exc:
            self.close()
            raise ConfigError(f"The state folder {state} cannot be used ({exc.strerror}): set [paths] state.") from exc
        try:
            _lock(self._file)
            with suppress(_Unsupported):
                _lock(self._folder)
        except BlockingIOError as exc:
            self.close()
            raise GreenrunError(
                f"Another daemon uses {state}: use that one, stop it, or set [paths] state to another folder."
            ) from exc

    def close(self) -> None:
        """Give the lock up; the file stays."""
        for descriptor in (self._file, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._folder = self._file = -1

    def check(self, now: datetime) -> list[Condition]:
        """Lock the file anew if it was removed or replaced; return what is wrong if that fails."""
        if _is_at(self._file, self._path):
            return []
        new = -1
        try:
            new = _open_lock(self._path)
            _lock(new)
        except OSError as exc:
            if new >= 0:
                os.close(new)
            return [_lost_lock(self._path, exc, now)]
        os.close(self._file)
        self._file = new
        log.warning("the lock file was removed or replaced, and is locked anew", path=str(self._path))
        return []


def check_socket(server: ServerHandle | None, now: datetime) -> list[Condition]:
    """Bind the socket anew if it was removed or replaced; return what is wrong if that fails."""
    if server is None:
        return []
    try:
        if server.reopen_unix():
            log.warning("the socket was removed or replaced, and is bound anew", path=str(server.path))
    except GreenrunError as exc:
        return [
            Condition(
                code=ConditionCode.SOCKET_LOST, effect=Effect.FAILING, since=now,
                text=f"the socket {server.path} was removed or replaced, and cannot be bound anew: {exc}",
                remedy="remove what is in its place; greenrun then binds it by itself",
            )
        ]  # fmt: skip
    return []


class _Unsupported(OSError):
    """The file system has no locks on folders."""


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _lock(descriptor: int) -> None:
    """Lock it; raise BlockingIOError when another process has, _Unsupported when it cannot be."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as exc:
        raise _Unsupported(exc.errno, exc.strerror) from exc


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return os.path.samestat(os.fstat(descriptor), found)


def _lost_lock(path: Path, error: OSError, now: datetime) -> Condition:
    why = "another daemon has locked it" if isinstance(error, BlockingIOError) else str(error.strerror)
    return Condition(
        code=ConditionCode.LOCK_LOST, effect=Effect.FAILING, since=now,
        text=f"the lock file {path} was removed or replaced, and cannot be locked anew: {why}",
        remedy="stop the other daemon, or put back what was moved; greenrun then locks it by itself",
    )  # fmt: skip
