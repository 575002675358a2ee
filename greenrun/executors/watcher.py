"""Notify the daemon within milliseconds that a run has started or ended, instead of at its next tick."""

import os
import selectors
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from greenrun.executors.processes import Identity, open_pidfd
from greenrun.executors.run_folder import STARTED_MARK
from greenrun.host_shortage import is_spared
from greenrun.poll_in_parts import PollInParts

POLL_S = 0.2
MESSAGE_BYTES = 4096
MESSAGES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """A descriptor to watch: a shim's pidfd, or the pipe that it closes when its command runs."""

    descriptor: int
    token: str = ""
    shim: Identity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a shim has said to the daemon that spawned it: the error it ended with, or that its command has started."""

    complaint: str = ""
    has_started: bool = False


class Watcher:
    """A thread that waits for shims to get ready or end, reaps those that are its children, and calls `on_change`.

    `on_change` is called in that thread and must not block or raise. Closing the watcher affects no shim.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._arrivals: deque[_Watched | Identity] = deque()
        self._followed: set[Identity] = set()
        self._messages: dict[str, bytes] = {}
        self._without_pidfd: set[Identity] = set()
        self._closing = False
        self._bell_lock = threading.Lock()
        self._bell = os.eventfd(0)
        self._selector = PollInParts()  # which takes no descriptor
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._watch, name="greenrun-watcher", daemon=True)
        self._thread.start()

    def follow(self, shim: Identity) -> None:
        """Watch a live shim until it ends, whoever spawned it; idempotent."""
        if self._closing or shim in self._followed:
            return
        try:
            descriptor = open_pidfd(shim)
        except OSError:
            self._add(shim)
            return
        if descriptor is None:
            _reap(os.P_PID, shim.pid)
        elif is_spared(descriptor):
            os.close(descriptor)
            self._add(shim)
        else:
            self._add(_Watched(descriptor=descriptor, shim=shim))

    def expect_ready(self, pipe: int, token: str) -> None:
        """Take over a pipe that a shim closes when it is ready or has written why it is not."""
        self._messages.pop(token, None)
        self._add(_Watched(descriptor=pipe, token=token))

    def said(self, token: str) -> Said:
        """Return what a run's shim has said so far."""
        message = self._messages.get(token, b"")
        has_started = message == STARTED_MARK
        return Said(complaint="" if has_started else message.decode(errors="replace"), has_started=has_started)

    def close(self) -> None:
        """Stop watching."""
        if not self._closing:
            self._closing = True
            self._ring()
            self._thread.join(timeout=5)
            with self._bell_lock:
                if not self._thread.is_alive():  # else it may be left open, but never be somebody else's
                    os.close(self._bell)
                self._bell = -1

    def _add(self, arrival: _Watched | Identity) -> None:
        shim = arrival if isinstance(arrival, Identity) else arrival.shim
        if shim:
            self._followed.add(shim)
        self._arrivals.append(arrival)
        self._ring()

    def _ring(self) -> None:
        """Wake the thread, unless it has ended: the bell's descriptor may have been reused since."""
        with self._bell_lock:
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def _watch(self) -> None:
        while not self._closing:
            events = self._selector.select(POLL_S if self._without_pidfd else None)
            changes = [self._happened(key.data) for key, _ in events if key.data]
            changes.append(self._look_without_pidfd())
            if any(key.fd == self._bell for key, _ in events):
                self._admit()
            if any(changes):
                self._on_change()
        self._release()

    def _admit(self) -> None:
        os.eventfd_read(self._bell)
        while self._arrivals:
            arrival = self._arrivals.popleft()
            if isinstance(arrival, Identity):
                self._without_pidfd.add(arrival)
            else:
                self._selector.register(arrival.descriptor, selectors.EVENT_READ, arrival)

    def _happened(self, watched: _Watched) -> bool:
        """Handle a readable descriptor; return whether its run has changed."""
        if watched.shim is None and (message := os.read(watched.descriptor, MESSAGE_BYTES)):
            self._keep_message(watched.token, message)
            return False
        if watched.shim is not None:
            _reap(os.P_PIDFD, watched.descriptor)
            self._followed.discard(watched.shim)
        self._selector.unregister(watched.descriptor)
        os.close(watched.descriptor)
        return True

    def _keep_message(self, token: str, message: bytes) -> None:
        if len(self._messages) >= MESSAGES:
            self._messages.pop(next(iter(self._messages)))
        self._messages[token] = (self._messages.get(token, b"") + message)[-MESSAGE_BYTES:]

    def _look_without_pidfd(self) -> bool:
        ended = {shim for shim in self._without_pidfd if _has_ended(shim)}
        for shim in ended:
            _reap(os.P_PID, shim.pid)
        self._without_pidfd -= ended
        self._followed -= ended
        return bool(ended)

    def _release(self) -> None:
        descriptors = [int(key.fd) for key in self._selector.get_map().values()]
        self._selector.close()
        left = [arrival.descriptor for arrival in self._arrivals if isinstance(arrival, _Watched)]
        for descriptor in {*descriptors, *left} - {self._bell}:
            os.close(descriptor)


def _has_ended(shim: Identity) -> bool:
    """Whether a shim has ended; not so while that cannot be told."""
    try:
        return not shim.is_alive()
    except OSError:
        return False


def _reap(how: int, which: int) -> None:
    """Reap an ended child; children of other processes are left alone."""
    with suppress(ChildProcessError):
        os.waitid(how, which, os.WEXITED | os.WNOHANG)
