"""How many files this process may have open: raised as far as it may be, and shared out between those who open some."""

import os
import resource
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache

import numpy.random  # noqa: F401 - loaded when the first plan is made, when there may be no descriptor left for that
import structlog

from greenrun.api.identity import PeerProtocol
from greenrun.api.serving.connections import BoundedProtocol
from greenrun.core.conditions import Condition, ConditionCode, Effect
from greenrun.core.errors import ConfigError
from greenrun.host_shortage import STARTS_TAKE
from greenrun.store.database import CONNECTIONS

OWN = 10  # state folder and lock, socket, what watches the database (3) and runs (1), the API's loop (2), a meter
ENOUGH_FOR_OWN = 40  # with connections to the database for all who want one at once, and sources over HTTP
AT_WORK = 4  # a connection to the database, and a caller before whom an idle one is dropped
EACH_RUN = 3  # a descriptor of its supervisor, and those of its start
RUNS = 128
LEAST_CONNECTIONS = 2  # that may stay open; one more is accepted, and makes room for itself
MOST_GPUS = 16  # of one job: the lock of each takes a descriptor

log = structlog.get_logger("greenrun.daemon.descriptors")


class Descriptors:
    """The limit on open files, and each part's share of it: where it is low, fewer connections stay open.

    `database` is how many connections to the database there may be. Those of callers are set where they are accepted.
    """

    def __init__(self, *, has_tcp: bool = False) -> None:
        """Raise the soft limit to the hard one and share it out; raise ConfigError if that is too few to work."""
        self.inherited = _inherited()  # which commands of jobs get back
        hard = self.inherited[1]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as exc:
            log.warning("the limit on open files stays as it is", error=str(exc))
        self.most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.wanted = ENOUGH_FOR_OWN + EACH_RUN * RUNS + PeerProtocol.most + BoundedProtocol.most
        self.is_enough = self.most == resource.RLIM_INFINITY or self.most >= self.wanted
        self.database = CONNECTIONS
        if not self.is_enough:
            self._share(_open_now() + OWN + has_tcp)

    def _share(self, own: int) -> None:
        """Give of what is left a third each to callers and to the database; the rest is for runs and what they take."""
        least = own + AT_WORK + STARTS_TAKE
        if self.most < least:
            raise ConfigError(
                f"This process may have {self.most} files open, too few to start a job, so greenrun does not start: "
                f"it needs {least} at least, and uses up to {self.wanted}. Raise ulimit -n (LimitNOFILE= in its unit)."
            )
        left = max(0, self.most - own - STARTS_TAKE)
        self.database = max(1, min(CONNECTIONS, left // 6))  # of two descriptors each
        PeerProtocol.most = max(LEAST_CONNECTIONS, min(PeerProtocol.most, left * 3 // 10))
        BoundedProtocol.most = max(LEAST_CONNECTIONS - 1, min(BoundedProtocol.most, left // 12))
        self._gpus = max(0, left - AT_WORK + 1)

    @property
    def for_jobs(self) -> Mapping[str, str]:
        """The limit that this process was started with, for jobs that state none: programs may rely on a low one."""
        return {"nofile": ":".join("unlimited" if n == resource.RLIM_INFINITY else str(n) for n in self.inherited)}

    def check(self, now: datetime) -> Sequence[Condition]:
        """Say that there are too few, for HealthWatch."""
        if self.is_enough:
            return []
        waits = f"; a job with more than {_gpus(self._gpus)} cannot be started" if self._gpus < MOST_GPUS else ""
        return [
            Condition(
                code=ConditionCode.FEW_DESCRIPTORS, effect=Effect.WARNING, since=now,
                text=f"this process may have {self.most} files open and would use up to {self.wanted}, so it serves at "
                f"most {PeerProtocol.most} connections at once, and starts may have to wait{waits}",
                remedy=f"start it with ulimit -n {self.wanted} or more (LimitNOFILE= in its unit)",
            )
        ]  # fmt: skip


@cache
def _inherited() -> tuple[int, int]:
    """Return the limit that this process was started with: later it is the one that was raised."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _open_now() -> int:
    """Return how many descriptors are open: as a rule the three of standard input, output and errors."""
    return len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208 - the one that reads the folder is not counted
