"""Builds the emulated driver library, writes what it plays, and knows the exact energy of that."""

import atexit
import ctypes
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.conftest import require
from tests.patience import HANGS_S

HERE = Path(__file__).parent
SONAME = "libnvidia-ml.so.1"
MOST_ROWS = 512  # of each kind, as in script.h

Trace = Sequence[tuple[float, float]]  # (from this second on, watts)


@cache
def built() -> Path:
    """Compile the library, once, and return it; skip without a C compiler."""
    folder = TemporaryDirectory(prefix="greenrun-nvml-")
    atexit.register(folder.cleanup)
    built = Path(folder.name) / SONAME
    sources = [str(HERE / name) for name in ("fake_nvml.c", "script.c")]
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-fvisibility=hidden"]
    command = [str(require("gcc")), *flags, f"-Wl,-soname,{SONAME}", "-o", str(built), *sources, "-lpthread"]
    subprocess.run(command, check=True, timeout=HANGS_S)
    return built


def constant(watts: float = 300.0) -> Trace:
    """One power all the time."""
    return [(0.0, watts)]


def square(end_s: float) -> Trace:
    """A second of 600 W and one of 100 W, in turns."""
    return [(float(second), 600.0 if second % 2 == 0 else 100.0) for second in range(int(end_s) + 1)]


def burst(end_s: float) -> Trace:
    """A fifth of a second of 600 W every two seconds, 100 W else."""
    return [row for second in range(0, int(end_s) + 1, 2) for row in ((second + 0.0, 600.0), (second + 0.2, 100.0))]


def plateau(at_s: float) -> Trace:
    """100 W, and 600 W from an instant on."""
    return [(0.0, 100.0), (at_s, 600.0)]


def energy_j(trace: Trace, start_s: float, end_s: float) -> float:
    """Return what a board with this trace uses between two instants."""
    total = 0.0
    for (from_s, watts), (to_s, _) in pairwise([*trace, (float("inf"), 0.0)]):
        total += watts * max(0.0, min(to_s, end_s) - max(from_s, start_s))
    return total


def board(index: int, trace: Trace, **options: int | str) -> list[str]:
    """Return the lines of a board that draws this."""
    words = " ".join(f"{name}={value}" for name, value in options.items())
    return [f"gpu {index} {words}", *(f"trace {index} {at_s:.6f} {1000 * watts:.0f}" for at_s, watts in trace)]


def uuid(index: int) -> str:
    """Return the id of a board that was given none."""
    return f"GPU-00000000-0000-0000-0000-{index:012d}"


@dataclass(frozen=True)
class Driver:
    """The emulated library and the script it plays, from `t0_s` of the monotonic clock on."""

    binary: Path
    folder: Path
    t0_s: float

    @property
    def script(self) -> Path:
        """Where the script is."""
        return self.folder / "gpus.conf"

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables with which a process finds the library and the script."""
        return {"LD_LIBRARY_PATH": str(self.binary.parent), "FAKE_NVML_CONFIG": str(self.script)}

    def show(self, patch: pytest.MonkeyPatch) -> None:
        """Let this process, and those that it starts, find them."""
        for name, value in self.environment.items():
            patch.setenv(name, value)

    def play(self, *lines: str) -> None:
        """Play this from now on, as if it had always been."""
        kinds = [line.split()[0] for line in lines]
        assert all(kinds.count(kind) <= MOST_ROWS for kind in set(kinds))
        new = self.script.with_name(".gpus.new")
        new.write_text("\n".join([f"t0 {self.t0_s!r}", *lines, ""]))
        new.replace(self.script)

    def set_time(self, second: float) -> None:
        """Let it be that many seconds after the script's beginning, in this process; a negative one: let time go on."""
        set_clock = ctypes.CDLL(str(self.binary), ctypes.RTLD_GLOBAL).fake_nvml_set_clock
        set_clock.argtypes, set_clock.restype = [ctypes.c_double], None
        set_clock(self.t0_s + second)


def fast(start_s: float, end_s: float, uneven: Iterator[float]) -> Iterator[float]:
    """Yield instants of a board's fast readings."""
    at_s = start_s + next(uneven)
    while at_s < end_s:
        yield at_s
        at_s += next(uneven)
