"""How many files this process may have open: raised as far as it may be, and shared out between those who open some."""

import resource
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy.random  # noqa: F401 - loaded when the first plan is made, when there may be no descriptor left for that
import structlog

from greenrun.api.identity import PeerProtocol
from greenrun.api.serving.connections import BoundedProtocol
from greenrun.core.conditions import Condition, ConditionCode, Effect

OWN = 40  # for the database, logs, pipes to the sampler and the event loop, with nobody connected and nothing running
EACH_RUN = 3  # a descriptor of its supervisor, and those of its start
RUNS = 128
LEAST_CONNECTIONS = 4

log = structlog.get_logger("greenrun.daemon.descriptors")


class Descriptors:
    """The limit on open files. Connections have bounds of their own; where the limit is low, they are lowered."""

    def __init__(self) -> None:
        """Raise the soft limit to the hard one, and fit the bounds of connections into what is left of it."""
        self.inherited = resource.getrlimit(resource.RLIMIT_NOFILE)  # which commands of jobs get back
        hard = self.inherited[1]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as exc:
            log.warning("the limit on open files stays as it is", error=str(exc))
        self.most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.wanted = OWN + EACH_RUN * RUNS + PeerProtocol.most + BoundedProtocol.most
        self.is_enough = self.most == resource.RLIM_INFINITY or self.most >= self.wanted
        if not self.is_enough:
            left = max(0, self.most - OWN) // 2
            PeerProtocol.most = max(LEAST_CONNECTIONS, min(PeerProtocol.most, left * 3 // 4))
            BoundedProtocol.most = max(LEAST_CONNECTIONS, min(BoundedProtocol.most, left // 4))

    @property
    def for_jobs(self) -> Mapping[str, str]:
        """The limit that this process was started with, for jobs that state none: programs may rely on a low one."""
        return {"nofile": ":".join("unlimited" if n == resource.RLIM_INFINITY else str(n) for n in self.inherited)}

    def check(self, now: datetime) -> Sequence[Condition]:
        """Say that there are too few, for HealthWatch."""
        if self.is_enough:
            return []
        return [
            Condition(
                code=ConditionCode.FEW_DESCRIPTORS, effect=Effect.WARNING, since=now,
                text=f"this process may have {self.most} files open and would use up to {self.wanted}, so it serves at "
                f"most {PeerProtocol.most} connections at once, and starts may have to wait",
                remedy=f"start it with ulimit -n {self.wanted} or more (LimitNOFILE= in its unit)",
            )
        ]  # fmt: skip
