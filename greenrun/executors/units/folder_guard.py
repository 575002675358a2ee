"""Look into users' folders, and wait a few seconds for it at most: a user may have led one to a file system that hangs.

Who opens a file there may wait for ever, and nothing ends that but the file system. So it is done in a thread of the
user's own, and while that waits, nothing else is asked of this user's folders: all others go on.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from greenrun.core.errors import StartPostponed

T = TypeVar("T")
LIMIT_S = 5.0  # what is there is small: it takes milliseconds


class FolderHangs(StartPostponed):
    """Nothing was heard of a user's folder in time."""


class FolderGuard:
    """One thread for each user, made when it is needed; `limit_s` is how long one look may take."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._threads: dict[int, _UserThread] = {}

    def call(self, uid: int, look: Callable[[], T]) -> T:
        """Return what `look` returns, or raise what it raises; raise FolderHangs when that is not known in time."""
        with self._lock:
            thread = self._threads.setdefault(uid, _UserThread(uid))
        return thread.call(look, self._limit_s)


class _UserThread:
    def __init__(self, uid: int) -> None:
        self._uid = uid
        self._queue: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._turn = threading.Lock()
        self._pending: tuple[Future[Any], float] | None = None
        self._thread: threading.Thread | None = None

    def call(self, look: Callable[[], T], limit_s: float) -> T:
        with self._turn:
            if self._pending is not None and not self._pending[0].done():
                raise self._hangs()
            future: Future[T] = Future()
            self._pending = future, monotonic()
            if self._thread is None:  # not to be waited for when this process ends
                self._thread = threading.Thread(target=self._work, name=f"greenrun-user-{self._uid}", daemon=True)
                self._thread.start()
            self._queue.put((look, future))
            wait([future], limit_s)
            if not future.done():
                raise self._hangs()
            self._pending = None
        return future.result()

    def _hangs(self) -> FolderHangs:
        waited_s = monotonic() - self._pending[1] if self._pending else 0.0
        return FolderHangs(
            f"the folder of the user {self._uid} has not answered for {waited_s:.0f} s, as a file system that hangs "
            "does; greenrun goes on without it and looks again"
        )

    def _work(self) -> None:
        while True:
            look, future = self._queue.get()
            try:
                future.set_result(look())
            except Exception as exc:  # noqa: BLE001 - whoever asked is told
                future.set_exception(exc)
            del look, future
