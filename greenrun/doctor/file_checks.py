"""The folders and files that the daemon writes: who may, and how much room there is."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from greenrun.config import Config
from greenrun.doctor.finding import Area, Finding, failed, ok, warning
from greenrun.paths import folder_open_to_others

MOST_NAMED = 4
LONGEST_SOCKET = 107  # bytes that the kernel takes
LITTLE_BYTES, TOO_LITTLE_BYTES = 1 << 30, 16 << 20


def check_permissions(config: Config) -> Iterator[Finding]:
    """Look at whether this user may write where the settings say, and nobody else may."""
    is_shared = config.server.is_system  # users then pass through it to what is their own
    yield from _check_folder(config.paths.state, "state folder", "paths.state", shut=0o044 if is_shared else 0o055)
    yield from _check_content(config.paths.state)
    yield from _check_socket(config.api.socket)
    yield from _check_folder(config.paths.locks, "folder of GPU locks", "paths.locks")


def _check_folder(folder: Path, what: str, setting: str, *, shut: int = 0) -> Iterator[Finding]:
    """Look at whether this user may write there, and others may neither write nor what `shut`, part of a mode, says."""
    there = _nearest(folder)
    if not there.is_dir():
        yield failed(Area.PERMISSIONS, f"the {what} {folder} cannot be made: {there} is no folder", f"set {setting}")
        return
    if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        own = (
            f"sudo chown {os.getuid()} {folder}"
            if there == folder
            else f"sudo install -d -m 700 -o {os.getuid()} {folder}"
        )
        remedy = f"{own}, or set {setting} to a folder of yours"
        yield failed(Area.PERMISSIONS, f"the {what} {folder} cannot be used: you may not write in {there}", remedy)
        return
    mode = stat.S_IMODE(there.stat().st_mode)
    if there == folder and shut and mode & 0o022:
        text = f"others may write in the {what} {folder} (mode {mode:o}), and so change jobs and logs"
        yield failed(Area.PERMISSIONS, text, f"chmod 700 {folder}")
    elif there == folder and mode & shut:
        text = f"others may read the {what} {folder} (mode {mode:o}): commands and logs of jobs"
        yield warning(Area.PERMISSIONS, text, f"chmod 700 {folder}")
    else:
        yield ok(Area.PERMISSIONS, f"{what}: {folder}" + ("" if there == folder else ", made at the first start"))


def _nearest(path: Path) -> Path:
    """Return the path, else the nearest folder above it, that is there as far as this user can see."""
    return next((each for each in (path, *path.parents) if os.path.exists(each)), Path("/"))  # noqa: PTH110 - no OSError


def _check_content(state: Path) -> Iterator[Finding]:
    """Look for what another user left there, as a start with sudo does."""
    try:
        foreign = [entry for entry in sorted(state.iterdir()) if not os.access(entry, os.R_OK | os.W_OK)]
    except OSError:
        return  # it is not there yet, or its own finding says what is wrong
    if foreign:
        names = ", ".join(entry.name for entry in foreign[:MOST_NAMED]) + ", ..." * (len(foreign) > MOST_NAMED)
        text = f"you may not write {names} in {state}: the daemon does not start"
        yield failed(Area.PERMISSIONS, text, f"sudo chown -R {os.getuid()} {state}")


def _check_socket(path: Path) -> Iterator[Finding]:
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        text = f"the path of the socket is too long for the kernel ({len(os.fsencode(path))} bytes): {path}"
        yield failed(Area.PERMISSIONS, text, f"set api.socket to a path of at most {LONGEST_SOCKET} bytes")
        return
    if _nearest(path) == path and not stat.S_ISSOCK(path.stat().st_mode):
        yield failed(Area.PERMISSIONS, f"{path} is there and is no socket", f"move it away, or set api.socket: {path}")
        return
    there = _nearest(path.absolute().parent)
    found = folder_open_to_others(there)
    if found:
        place, why = found
        text = f"the folder {place} {why}, so others could put a socket of their own in the place of greenrun's"
        yield failed(Area.PERMISSIONS, f"{text}: the daemon does not start", f"chmod 700 {place}, or set api.socket")
        return
    yield from _check_folder(path.parent, "folder of the socket", "api.socket")


def check_disk(state: Path) -> Iterator[Finding]:
    """Look at the room and the inodes that are left where the state folder is, or will be."""
    there = _nearest(state)
    try:
        found = os.statvfs(there)
    except OSError as exc:
        yield failed(Area.DISK, f"the file system of {there} cannot be asked ({exc.strerror})", "set paths.state")
        return
    free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    left = f"{free / 2**30:.1f} of {size / 2**30:.1f} GiB are free where {state} is"
    remedy = f"free some space, or set paths.state to a folder elsewhere: du -xh {there} | sort -h | tail"
    if found.f_flag & os.ST_RDONLY:
        yield failed(Area.DISK, f"the file system of {there} is read-only", "mount it writable, or set paths.state")
    elif free < TOO_LITTLE_BYTES or (found.f_files and not found.f_favail):
        text = left if free < TOO_LITTLE_BYTES else f"no inode is left where {state} is"
        yield failed(Area.DISK, f"{text}: submissions are refused", remedy)
    elif free < LITTLE_BYTES:
        yield warning(Area.DISK, f"{left}: one job's log may take more (jobs.log_cap)", remedy)
    else:
        yield ok(Area.DISK, left)
