"""The unix socket: bound in a folder that nobody else may change, and removed by nobody but who bound it."""

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from greenrun.core.errors import ConfigError, GreenrunError
from greenrun.host_shortage import lacking
from greenrun.paths import folder_open_to_others

BACKLOG = 128
PAUSE_S = 0.5  # half of asyncio's own, after which it asks again

Place = tuple[int, int]


class Listener(socket.socket):
    """A listening socket of which at most `most` accepted connections are open at once; others wait in its queue.

    asyncio accepts as many as there are before any of them can be looked at, and dropped. Where there is no descriptor
    left to accept with, Python 3.11 and 3.12 ask again for each that may wait, and tell of each time that it fails.
    """

    def __init__(self, family: int = socket.AF_UNIX, kind: int = socket.SOCK_STREAM) -> None:
        super().__init__(family, kind)
        self.most = BACKLOG
        self.group: int | None = None  # who else may connect
        self._accepted: list[socket.socket] = []
        self._failed_at_s = float("-inf")

    def listen(self, backlog: int = BACKLOG, /) -> None:
        """Listen, with a queue for BACKLOG at least: who finds it full is refused at once."""
        super().listen(max(backlog, BACKLOG))

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection; raise OSError, BlockingIOError with as many as may be, or shortly after a failure."""
        self._accepted = [one for one in self._accepted if one.fileno() >= 0]
        if monotonic() - self._failed_at_s < PAUSE_S or len(self._accepted) >= self.most:
            raise BlockingIOError
        try:
            connection, address = super().accept()
        except OSError as exc:
            if lacking(exc) and not isinstance(exc, BlockingIOError):
                self._failed_at_s = monotonic()
            raise
        self._accepted.append(connection)
        return connection, address


def bind_unix(path: Path, group: int | None = None) -> Listener:
    """Return a listening unix socket of mode 0600, its folder made with 0700; raise GreenrunError when a daemon has it.

    With a `group` (its id) the socket has mode 0660 and that group, whose members may connect. A socket
    that nobody answers is what a killed daemon left, and is replaced. A folder in which somebody else could put a
    socket of their own in its place is refused (ConfigError).
    """
    try:
        listener = Listener(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as exc:
        short_of = lacking(exc) or f"sockets ({exc})"
        raise GreenrunError(f"The socket {path} cannot be made: this machine is short of {short_of}.") from exc
    try:
        _make_folder(path.absolute().parent)
        _refuse_open_folders(path.absolute().parent)
        _remove_stale(path)
        os.fchmod(listener.fileno(), 0o600)  # the bound file inherits it, so that it is never open to others
        listener.bind(str(path))
        if group is not None:  # its group first: else it would be open to another one for a moment
            os.chown(path, -1, group, follow_symlinks=False)
            path.chmod(0o660)
        listener.group = group
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise ConfigError(f"The socket {path} cannot be made ({exc}): set [api] socket to a path that can.") from exc
    except GreenrunError:
        listener.close()
        raise
    return listener


def _make_folder(folder: Path) -> None:
    """Make the folder and what it lies in, all with 0700: `parents=True` would leave those above to the umask."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)


def _refuse_open_folders(folder: Path) -> None:
    found = folder_open_to_others(folder)
    if found:
        place, why = found
        raise ConfigError(
            f"The folder {place} {why}, so others could put a socket of their own in the place of greenrun's: "
            "make it your own with mode 0700, or set [api] socket to a path in one that is."
        )


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(
            f"{path} exists and is not a socket, so greenrun leaves it alone: set [api] socket to another."
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except (BlockingIOError, TimeoutError):
            raise _taken(path) from None  # its queue of callers is full: busy, but there
        else:
            raise _taken(path)


def _taken(path: Path) -> GreenrunError:
    return GreenrunError(f"Another daemon answers at {path}: use it, stop it, or set [api] socket to another path.")


def place_of(path: Path) -> Place | None:
    """Return which file a path names, to tell a socket from another one that took its place; None without any."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def remove_own(path: Path, place: Place | None) -> None:
    """Remove the socket if it is still the one that was bound."""
    if place is not None and place_of(path) == place:
        with suppress(OSError):
            path.unlink()
