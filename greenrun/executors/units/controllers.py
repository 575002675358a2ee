"""Which limits the kernel can keep here: those whose controller is in the control groups of version 2."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from greenrun.executors.units.unit_status import CGROUPS

CONTROLLERS = {"memory_gib": "memory", "cpus": "cpu", "io_weight": "io"}  # by field of a job
_OF_USERS = (
    "limits of memory, CPUs and disk are kept in system mode alone, where each job is a unit of systemd "
    "(docs/system-mode.md), and this greenrun is one user's"
)


def why_not_limited(*, is_system: bool, root: Path = CGROUPS) -> Mapping[str, str]:
    """Return what cannot be limited here, by field of a job, and why."""
    if not is_system:
        return dict.fromkeys(CONTROLLERS, _OF_USERS)
    return dict(_lacking(root))


def why_not_kept(asked: Collection[str]) -> str | None:
    """Say why limits that a site sets for all jobs would not be kept; None where they would."""
    lacking = why_not_limited(is_system=True)
    return next((f"{field}: {lacking[field]}" for field in asked if field in lacking), None)


def _lacking(root: Path) -> Iterator[tuple[str, str]]:
    there: list[str] = []
    with suppress(OSError):
        there = (root / "cgroup.controllers").read_text(encoding="ascii", errors="replace").split()
    for field, controller in CONTROLLERS.items():
        if controller not in there:
            yield (
                field,
                (
                    f"nothing would keep this limit, since the controller {controller} is not in the control groups of "
                    f"version 2 here ({root}/cgroup.controllers; boot with systemd.unified_cgroup_hierarchy=1)"
                ),
            )
