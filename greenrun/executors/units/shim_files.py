"""Whether all users of the machine can execute the shim: Python, and greenrun's own modules."""

import os
import stat
import sys
from pathlib import Path

from greenrun.executors import shim
from greenrun.executors.units import unit_entry


def why_not_for_all(files: tuple[str, ...] | None = None) -> str | None:
    """Return which file or folder others may not read, by its mode; None where nothing is in their way."""
    for file in files or (sys.executable, os.path.realpath(sys.executable), unit_entry.__file__, str(shim.__file__)):
        path = Path(file).absolute()
        for place in (path, *path.parents):
            mode = place.stat().st_mode
            needed = stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
            if mode & needed != needed:
                return f"Users cannot start jobs, as {place} is not open to them (it is on the way to {path})"
    return None
