"""A selector that goes on when the limit on open files is lowered below what it watches: poll(2) refuses so many."""

import errno
import resource
import selectors
from contextlib import suppress

LOOK_EVERY_S = 0.05

Ready = list[tuple[selectors.SelectorKey, int]]


class PollInParts(selectors.PollSelector):
    """As PollSelector, which takes no descriptor; under such a limit it looks at what it watches in parts."""

    def select(self, timeout: float | None = None) -> Ready:
        """Return what is ready; under such a limit perhaps nothing, and before the time is up."""
        try:
            return super().select(timeout)
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
        if not (ready := self._look()):
            selectors.PollSelector().select(LOOK_EVERY_S if timeout is None else min(timeout, LOOK_EVERY_S))
        return ready

    def _look(self) -> Ready:
        most = max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        keys, ready = list(self.get_map().values()), Ready()
        for first in range(0, len(keys), most):
            part = selectors.PollSelector()
            for key in keys[first : first + most]:
                part.register(key.fileobj, key.events, key.data)
            with suppress(OSError):  # lowered even further
                ready += part.select(0)
        return ready
