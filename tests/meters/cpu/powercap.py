"""A powercap tree in a folder, whose counters a test lets run; laid out as the kernel does."""

from dataclasses import dataclass
from pathlib import Path

RANGE_J = 262_143.32885  # of the usual 32-bit counter of 61 µJ


@dataclass(frozen=True, slots=True)
class FakeZone:
    """A zone's folder; its counter is that of the hardware, so it begins again where its range ends."""

    folder: Path
    range_j: float = RANGE_J

    def show(self, energy_j: float) -> None:
        """Let the counter say what has been used since it was made."""
        (self.folder / "energy_uj").write_text(f"{round(energy_j % self.range_j * 1e6)}\n")

    def say(self, text: str, name: str = "energy_uj") -> None:
        """Let one of its files say just this."""
        (self.folder / name).write_text(text)

    def vanish(self) -> None:
        """Take the counter away."""
        (self.folder / "energy_uj").unlink()


def zone(root: Path, folder: str, name: str, energy_j: float = 0.0, range_j: float = RANGE_J) -> FakeZone:
    """Make a zone, as `zone(root, "intel-rapl:0", "package-0")`."""
    made = FakeZone(root / folder, range_j)
    made.folder.mkdir(parents=True)
    made.say(f"{name}\n", "name")
    made.say(f"{round(range_j * 1e6)}\n", "max_energy_range_uj")
    made.show(energy_j)
    return made


def two_sockets(root: Path) -> dict[str, FakeZone]:
    """Make a server: two packages with DRAM as MSR and MMIO show them, their parts, and the platform."""
    (root / "intel-rapl").mkdir(parents=True)
    zones = {}
    for package in (0, 1):
        above = f"intel-rapl:{package}"
        zones[f"package-{package}"] = zone(root, above, f"package-{package}", 1000.0 + package)
        zones[f"core-{package}"] = zone(root, f"{above}:0", "core", 10.0)
        zones[f"uncore-{package}"] = zone(root, f"{above}:1", "uncore", 20.0)
        zones[f"package-{package}-dram"] = zone(root, f"{above}:2", "dram", 300.0 + package)
        zone(root, f"intel-rapl-mmio:{package}", f"package-{package}", 50.0)
        zone(root, f"intel-rapl-mmio:{package}:0", "dram", 60.0)
    zones["psys"] = zone(root, "intel-rapl:2", "psys", 5000.0)
    return zones
