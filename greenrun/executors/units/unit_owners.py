"""Tell whose processes are by the unit they are in: no process of a user can leave it, or enter another one's."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from greenrun.core.jobs.job import Run
from greenrun.executors.owners import ProcessOwners
from greenrun.executors.processes import Identity
from greenrun.executors.units.unit_properties import PREFIX, SLICE

_UNIT = re.compile(rf"/{re.escape(SLICE)}/{re.escape(PREFIX)}([0-9a-zA-Z]+)\.service(?:/|$)", re.MULTILINE)


class UnitOwners(ProcessOwners):
    """Tells whose processes are; neither their environment nor a run's folder is believed, which its user writes."""

    def _leaders(self, live: Sequence[Run]) -> Mapping[Identity, str]:
        return {}

    def _run_of(self, pid: int, leaders: Mapping[Identity, str], tokens: Mapping[str, str]) -> str | None:
        token = token_of(pid)
        return None if token is None else tokens.get(token)


def token_of(pid: int, proc: Path = Path("/proc")) -> str | None:
    """Return the token of the run whose unit a process is in; None for one that is in none, or cannot be seen."""
    with suppress(OSError):
        found = _UNIT.search((proc / f"{pid}/cgroup").read_text(encoding="utf-8", errors="replace"))
        return found[1] if found else None
    return None
