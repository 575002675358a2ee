"""A run's log: its latest part, the part before that, and nothing more; light enough for every shim to import.

`log` grows to half of the limit, then becomes `log.1` in place of the one before, and a new `log` begins with a line
that says so. Together they never take more than the limit.
"""

# ruff: noqa: PTH104, PTH108, PTH113, PTH116, PTH119
# No pathlib: it would cost every shim a third of its start.

import contextlib
import errno
import fcntl
import os
import stat

PREVIOUS = ".1"  # the ending of the part before
MARK = b"greenrun: this log passed half of its limit"  # how a part begins that has another before it
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK
FULL = (errno.ENOSPC, errno.EDQUOT)
LEAST_BYTES = 512  # of a part: room for the line it begins with


class Log:
    """An append-only log, bounded in size, that others may move, delete or write to as well.

    What the disk has no room for is dropped, and said once it has room again.
    """

    def __init__(self, path: str, cap_bytes: int, mode: int = 0o600) -> None:
        """Open it for appending; raise OSError (also for a pipe without a reader, instead of waiting for one)."""
        self.path, self._mode = path, mode
        self._cap_bytes = cap_bytes
        self._part_bytes = max(cap_bytes // 2, LEAST_BYTES)
        self._dropped = 0  # bytes of former parts
        self._lost = 0  # bytes that could not be written
        self._why: OSError | None = None  # and why not
        self._heading_bytes = 0  # of the line that this part begins with
        self._in_line = False
        self.descriptor = self._open()
        self.is_regular = stat.S_ISREG(os.fstat(self.descriptor).st_mode)
        os.set_blocking(self.descriptor, True)

    def say(self, text: str) -> None:
        """Append a line prefixed with `greenrun:`, if the disk has room."""
        line = f"greenrun: {text}\n".encode(errors="replace")
        self.write(b"\n" + line if self._in_line else line)

    def write(self, data: bytes | memoryview) -> None:
        """Append data, beginning a new part wherever one is full. Never raise OSError."""
        rest = memoryview(data)
        try:
            self._follow_path()
            self._tell_lost()
            while rest:
                rest = rest[self._append(rest) :]
        except OSError as error:
            self._lost += len(rest)
            self._why = error

    def _append(self, data: memoryview) -> int:
        """Append what fits into this part, whole lines if possible; return how much."""
        if not self.is_regular:
            return os.write(self.descriptor, data)
        room = self._part_bytes - os.fstat(self.descriptor).st_size
        if room < len(data):
            line_end = bytes(data[: max(room, 0)]).rfind(b"\n") + 1
            if line_end == 0 and self._begin_part():
                return 0
            room = line_end or max(room, 1)
        written = os.write(self.descriptor, data[:room])
        self._in_line = data[written - 1] != 0x0A
        return written

    def _begin_part(self) -> bool:
        """Make this part the previous one and begin another; return False if this one has only begun itself."""
        size = os.fstat(self.descriptor).st_size
        if size <= self._heading_bytes:
            return False
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of several runs with this log one moves it
        except BlockingIOError:
            return False
        except OSError:
            pass  # a file system without locks
        if self._is_in_place():
            self._replace(size)
        else:
            self._reopen()
        return True

    def _replace(self, size: int) -> None:
        """Begin another part, or empty this one where its folder does not allow that; raise OSError on a full disk."""
        previous, draft = f"{self.path}{PREVIOUS}", f"{self.path}.{os.getpid()}.new"
        dropped = self._dropped + size_of(previous)
        more = f", and {dropped} bytes before those were dropped" if dropped else ""
        try:
            new = os.open(draft, FLAGS | os.O_TRUNC | os.O_NOFOLLOW, self._mode)
            try:
                self._head(new, f"the {size} bytes before this line are in {os.path.basename(previous)}{more}")
                keep(self.path, previous, draft)
                os.dup2(new, self.descriptor, inheritable=False)
                self._dropped = dropped
            finally:
                os.close(new)
        except OSError as error:
            discard(draft)
            if error.errno in FULL:
                raise
            self._empty(size, error)

    def _empty(self, size: int, error: OSError) -> None:
        self._dropped += size
        os.ftruncate(self.descriptor, 0)
        self._head(
            self.descriptor,
            f"all before this line, {self._dropped} bytes, was dropped, as it could not be kept: {error}",
        )

    def _head(self, descriptor: int, kept: str) -> None:
        """Write the line that a part begins with."""
        line = b"%s of %d bytes; %s\n" % (MARK, self._cap_bytes, kept.encode(errors="replace"))
        self._heading_bytes = os.write(descriptor, line)
        self._in_line = False

    def _follow_path(self) -> None:
        """Go on in the file that is at the path now, if somebody moved or deleted the one that was."""
        if self.is_regular and not self._is_in_place():
            self._reopen()

    def _is_in_place(self) -> bool:
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self.descriptor))

    def _reopen(self) -> None:
        """Open the file at the path under the same descriptor; if that cannot be had, go on in the old one."""
        with contextlib.suppress(OSError):
            new = self._open()
            if stat.S_ISREG(os.fstat(new).st_mode):
                os.dup2(new, self.descriptor, inheritable=False)
            os.close(new)

    def _open(self) -> int:
        return os.open(self.path, FLAGS, self._mode)

    def _tell_lost(self) -> None:
        """Say, once there is room again, how much was lost for want of it; raise OSError if there is none yet."""
        if self._lost:
            start = "\n" if self._in_line else ""
            text = f"{start}greenrun: {self._lost} bytes of output could not be written and are lost: {self._why}\n"
            self._append_all(text.encode(errors="replace"))
            self._lost = 0

    def _append_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._append(rest) :]


def size_of(path: str) -> int:
    """Return a file's size; 0 for one that is not there."""
    with contextlib.suppress(OSError):
        return os.stat(path).st_size
    return 0


def keep(path: str, previous: str, draft: str) -> None:
    """Keep a log as the part before and put a draft in its place, so that there always is a log; raise OSError."""
    second_name = f"{draft}.kept"
    try:
        os.link(path, second_name)
    except OSError:  # a file system without hard links: for a moment there is none
        os.rename(path, previous)
    else:
        try:
            os.rename(second_name, previous)
        except OSError:
            discard(second_name)
            raise
    os.rename(draft, path)


def discard(path: str) -> None:
    """Delete a file, if it is there."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def parts(path: str) -> list[str]:
    """Return the files that hold a log, oldest first: where its latest part says that there is one before, two."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if os.read(descriptor, len(MARK)) == MARK and os.path.isfile(f"{path}{PREVIOUS}"):
                return [f"{path}{PREVIOUS}", path]
        finally:
            os.close(descriptor)
    return [path]
