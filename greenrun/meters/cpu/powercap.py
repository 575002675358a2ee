"""The kernel's powercap tree: find the zones that are processor packages and their DRAM, each once.

A package holds all its cores and what surrounds them, so those zones count nothing of their own; `psys` is the platform
with the packages in it. Several drivers may show one package (MSR, MMIO, TPMI), and several dies one counter.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenrun.core.energy.model import Component

_FOLDER = re.compile(r"(?P<driver>[a-z][a-z0-9_-]*):(?P<zone>\d+)(:(?P<part>\d+))?")
_PACKAGE = re.compile(r"package-(?P<package>\d+)(-die-\d+)?")
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


def without_mirrors(zones: Iterable[Zone]) -> list[Zone]:
    """Return the zones without those dies that mirror the counter of another die of their package."""
    kept: list[Zone] = []
    for zone in zones:
        siblings = [other for other in kept if (other.package, other.kind) == (zone.package, zone.kind)]
        if not any(_is_mirrored(other, zone) for other in siblings):
            kept.append(zone)
    return kept


def _is_mirrored(first: Zone, second: Zone) -> bool:
    """Whether two zones show the same counter: then the second's value lies between two readings of the first."""
    try:
        before_j, between_j, after_j = first.counter_j(), second.counter_j(), first.counter_j()
    except (OSError, ValueError):
        return False
    return before_j <= between_j <= after_j


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
