"""The kernel's powercap tree: find the zones that are processor packages and their DRAM, each once.

A package holds all its cores and what surrounds them, so those zones count nothing of their own; `psys` is the platform
with the packages in it. Several drivers may show one package (MSR, MMIO, TPMI), and several dies one counter.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Event

from greenrun.core.energy.model import Component

_FOLDER = re.compile(r"(?P<driver>[a-z][a-z0-9_-]*):(?P<zone>\d+)(:(?P<part>\d+))?")
_PACKAGE = re.compile(r"package-(?P<package>\d+)(-die-\d+)?")
CLOSE_J = 1.0  # counters that are further apart are two: a die draws that in some hundredths of a second
WATCH_S, LOOK_S = 2.5, 0.05  # for how long two such counters are watched, and between two looks
ADVANCES, LEAST_ADVANCES = 8, 2  # ... or until they have advanced so often; after fewer, nothing can be told
TICK_J = 0.05  # a mirrored counter is never further from where it was behind the other
LOOKS = 4  # before two counters are far from each other: a look may fall between the updates of the two
MOSTLY = 0.7  # of the looks: one may fall between the updates of the two
_FIRST = "intel-rapl"  # preferred among drivers that show the same package: every kernel has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A package, or a package's DRAM. `name` is unique on the host; `range_j` is where its counter wraps."""

    name: str
    kind: Component
    package: int
    folder: Path
    range_j: float | None

    def counter_j(self) -> float:
        """Return its counter in J; raise OSError or ValueError if it cannot be read now."""
        return _joules(self.folder / "energy_uj")


def zones_in(root: Path) -> list[Zone]:
    """Return the packages and their DRAM below `root`, in order of package; empty without such a tree."""
    zones: dict[str, Zone] = {}
    for zone in _all_zones(root):
        zones.setdefault(zone.name, zone)
    return sorted(zones.values(), key=lambda zone: (zone.package, zone.name))


def without_mirrors(
    zones: Iterable[Zone], pause: Callable[[float], object] | None = None
) -> tuple[list[Zone], list[str]]:
    """Return the zones without those dies that mirror the counter of another die of their package, and say of each why.

    Where two counters stand close to each other, they are watched for up to WATCH_S, with pauses between two looks.
    """
    wait = pause or Event().wait
    kept: list[Zone] = []
    said: list[str] = []
    for zone in zones:
        siblings = [other for other in kept if (other.package, other.kind) == (zone.package, zone.kind)]
        twin = next((other for other in siblings if _is_mirrored(other, zone, wait)), None)
        if twin is None:
            kept.append(zone)
        else:
            said.append(f"{zone.name} shows the counter of {twin.name}, so it is counted once")
    return kept, said


def _is_mirrored(first: Zone, second: Zone, pause: Callable[[float], object]) -> bool:
    """Whether two zones show the same counter.

    Then the second's value lies between two readings of the first, or as far from them as ever while both advance: a
    die's counter may be a tick behind the other's. Two counters of their own part by what the dies draw differently.
    """
    try:
        behind = [_behind_j(first, second)]
        while len(behind) < LOOKS and max(map(abs, behind[-1])) >= CLOSE_J:
            pause(LOOK_S)
            behind.append(_behind_j(first, second))
        if behind[-1] == (0.0, 0.0):
            return True
        if max(map(abs, behind[-1])) >= CLOSE_J:
            return False
        began_j, advances = first.counter_j(), 0
        for _ in range(round(WATCH_S / LOOK_S)):
            pause(LOOK_S)
            behind.append(_behind_j(first, second))
            now_j = first.counter_j()
            advances, began_j = advances + (now_j != began_j), now_j
            if advances >= ADVANCES:
                break
    except (OSError, ValueError):
        return False
    steady = median(low for low, _ in behind)
    same = sum(low - TICK_J <= steady <= high + TICK_J for low, high in behind)
    return advances >= LEAST_ADVANCES and same >= MOSTLY * len(behind)


def _behind_j(first: Zone, second: Zone) -> tuple[float, float]:
    """Return between which values the second counter is behind the first; 0.0 for one of them if it may be none."""
    before_j, between_j, after_j = first.counter_j(), second.counter_j(), first.counter_j()
    low, high = before_j - between_j, after_j - between_j
    return (0.0, 0.0) if low <= 0 <= high else (low, high)


def _all_zones(root: Path) -> Iterator[Zone]:
    for match in _folders(root):
        folder = root / match.string
        name = _text(folder / "name")
        above = name if match["part"] is None else _text(root / f"{match['driver']}:{match['zone']}" / "name")
        package = _PACKAGE.fullmatch(above)
        if package is None or (match["part"] is not None and name != "dram"):
            continue
        is_package = match["part"] is None
        yield Zone(
            name=name if is_package else f"{above}-dram",
            kind=Component.CPU if is_package else Component.DRAM,
            package=int(package["package"]),
            folder=folder,
            range_j=_range_j(folder),
        )


def _folders(root: Path) -> Sequence[re.Match[str]]:
    """Return the zones' folders, the preferred driver first."""
    try:
        names = sorted(path.name for path in root.iterdir())
    except OSError:
        return []
    found = [match for match in map(_FOLDER.fullmatch, names) if match]
    return sorted(found, key=lambda match: (match["driver"] != _FIRST, match["driver"]))


def _range_j(folder: Path) -> float | None:
    try:
        return _joules(folder / "max_energy_range_uj") or None
    except (OSError, ValueError):
        return None


def _joules(path: Path) -> float:
    joules = int(path.read_text(encoding="ascii")) / 1e6
    if joules < 0:
        raise ValueError(f"{path} says {joules} J")
    return joules


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
