"""Lock devices host-wide, so that two daemons of one machine, of whatever user, cannot lease the same GPU."""

import fcntl
import json
import os
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

from greenrun.core.energy.gpu_parts import board_of, is_part
from greenrun.core.errors import DeviceBusy, ExecutorError

TRIES = 5
TRY_EVERY_S = 0.02
OPEN_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class DeviceLocks:
    """One lock file per device in a folder that all users of the host share (sticky, as /tmp is).

    Who holds a part of a board shares the board's lock with the holders of its other parts, so that nobody who takes
    the board as a whole can have it meanwhile. A lock is a flock that belongs to the open descriptor: passed on to a
    run, it is held until the last process of the run that kept it has ended, whatever becomes of the daemon. Lock files
    stay; deleting one that is held would let a second holder in.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def held(self, devices: Sequence[str], holder: Mapping[str, object]) -> Iterator[Sequence[int]]:
        """Lock all devices for the block and yield their descriptors; raise DeviceBusy naming the holder of one.

        Descriptors passed on to a child inside the block keep the locks after it. `holder` is written to the lock file
        for others to read, for explanations only.
        """
        descriptors: list[int] = []
        try:
            for device in devices:
                if is_part(device):
                    descriptors.append(self._lock(board_of(device), fcntl.LOCK_SH))
                descriptors.append(self._lock(device))
                self._sign(device, holder)
            yield descriptors
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def held_by_others(self, devices: Sequence[str]) -> dict[str, str]:
        """Return those devices whose lock is held, and by whom; keep no lock. Raise ExecutorError."""
        try:
            taken = {
                device: next(filter(None, map(self._locked, self._in_the_way(device))), None) for device in devices
            }
            return {device: self.holder(other) for device, other in taken.items() if other is not None}
        except OSError as exc:
            raise ExecutorError(
                f"the device locks cannot be read ({exc}); greenrun starts nothing on these GPUs"
            ) from exc

    def holder(self, device: str) -> str:
        """Return who last signed a device's lock file, as text.

        A user who locks a file that another user's daemon made cannot sign it, so this may name an earlier holder.
        """
        signed = self.signature(device)
        run, uid, runs_dir = signed.get("run"), signed.get("uid"), signed.get("runs_dir")
        return f"run {run} of user {uid} in {runs_dir}" if run else f"somebody who locked {self._path(device)}"

    def signature(self, device: str) -> dict[str, object]:
        """Return what the last holder wrote; empty if it cannot be read."""
        with suppress(OSError, ValueError):
            descriptor = os.open(self._path(device), os.O_RDONLY | OPEN_FLAGS)
            with os.fdopen(descriptor, encoding="utf-8") as file:
                signed = json.loads(file.read(4096))
            return signed if isinstance(signed, dict) else {}
        return {}

    def _in_the_way(self, device: str) -> list[str]:
        """Return whose locks keep a device from being taken: its own, its board's, and those of its parts."""
        if is_part(device):
            return [device, board_of(device)]
        try:
            files = sorted(path.name for path in self._folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            files = []
        begin = quote(f"{device}/", safe="")
        return [device, *(unquote(name.removesuffix(".lock")) for name in files if name.startswith(begin))]

    def _locked(self, device: str) -> str | None:
        return device if is_locked(self._path(device)) else None

    def _lock(self, device: str, how: int = fcntl.LOCK_EX) -> int:
        descriptor = self._open(device)
        try:
            for _ in range(TRIES):  # another daemon's `held_by_others` may hold it for a moment
                if _try_lock(descriptor, how):
                    return descriptor
                threading.Event().wait(TRY_EVERY_S)
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
        device = next(filter(None, map(self._locked, self._in_the_way(device))), device)
        busy = f"device {device} is locked by {self.holder(device)}, so nothing was started; try again once it is free"
        raise DeviceBusy(busy, device)

    def _open(self, device: str) -> int:
        """Open a device's lock file, created by the first user who needs it and readable for all."""
        path = self._path(device)
        self._make_folder()
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | OPEN_FLAGS, 0o644)  # a run inherits it
            os.fchmod(descriptor, 0o644)  # whatever the umask: other users must be able to lock it
        except FileExistsError:  # no O_CREAT: in a sticky folder the kernel refuses it for other users' files
            descriptor = os.open(path, os.O_RDONLY | OPEN_FLAGS)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ExecutorError(f"{path} is not a lock file, so nothing was started; delete it and submit again")
        return descriptor

    def _make_folder(self) -> None:
        with suppress(FileExistsError):
            self._folder.mkdir(parents=True)
            self._folder.chmod(0o1777)

    def _sign(self, device: str, holder: Mapping[str, object]) -> None:
        with suppress(OSError):
            descriptor = os.open(self._path(device), os.O_WRONLY | os.O_TRUNC | OPEN_FLAGS)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(dict(holder), file)

    def _path(self, device: str) -> Path:
        return self._folder / f"{quote(device, safe='')}.lock"


def is_locked(path: Path) -> bool:
    """Return whether a file's lock is held; one that does not exist is not. Raise OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | OPEN_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
