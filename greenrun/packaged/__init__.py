"""The files that come with greenrun, wherever it was installed: example settings, units, rules and dashboards."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

EXAMPLE = "config/greenrun.toml"
USER_UNIT = "systemd/user/greenrun.service"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedFile:
    """A file that comes with greenrun: its place in this package, and what it is for."""

    place: str
    about: str

    @property
    def name(self) -> str:
        """Its name without a folder."""
        return self.place.rpartition("/")[2]

    @property
    def path(self) -> Path:
        """Where it is on this machine."""
        return path_of(self.place)

    @property
    def text(self) -> str:
        """Its content."""
        return text_of(self.place)


SYSTEM_UNIT = "systemd/system/greenrun.service"
SYSTEM_FILES = {  # of the daemon of a machine, and where `greenrun init --system` writes them
    SYSTEM_UNIT: Path("/etc/systemd/system/greenrun.service"),
    "systemd/system/greenrun.slice": Path("/etc/systemd/system/greenrun.slice"),
    "systemd/system/greenrun-power-limit.socket": Path("/etc/systemd/system/greenrun-power-limit.socket"),
    "systemd/system/greenrun-power-limit@.service": Path("/etc/systemd/system/greenrun-power-limit@.service"),
    "systemd/sysusers.d/greenrun.conf": Path("/etc/sysusers.d/greenrun.conf"),
    "systemd/tmpfiles.d/greenrun.conf": Path("/etc/tmpfiles.d/greenrun.conf"),
    "systemd/dbus-1/greenrun.conf": Path("/etc/dbus-1/system.d/greenrun.conf"),
}

UNITS = (
    PackagedFile(place=USER_UNIT, about="the daemon as a systemd service of one user; ~/.config/systemd/user"),
    PackagedFile(
        place="systemd/tmpfiles.d/greenrun-rapl.conf",
        about="lets a group read the energy counters of the CPU; /etc/tmpfiles.d",
    ),
)
DASHBOARDS = (
    PackagedFile(place="config/prometheus/rules.yml", about="Prometheus: recording rules, which the others use"),
    PackagedFile(place="config/prometheus/alerts.yml", about="Prometheus: alerts"),
    PackagedFile(place="config/grafana/operations.json", about="Grafana: jobs, GPUs, sources and the daemon"),
    PackagedFile(place="config/grafana/sustainability.json", about="Grafana: energy, emissions and the grid"),
)


def path_of(place: str) -> Path:
    """Return where a file of this package is on this machine."""
    return Path(str(files(__name__).joinpath(place)))


def text_of(place: str) -> str:
    """Return the content of a file of this package."""
    return path_of(place).read_text(encoding="utf-8")
