"""The files of system mode, for `greenrun init --system`: the mode in the settings, the unit, what goes with it."""

from pathlib import Path

from greenrun.cli.command import USAGE, LocalError
from greenrun.cli.output import write_whole
from greenrun.packaged import SYSTEM_FILES, text_of

MODE = '[server]\nmode = "system"\n\n'
NEXT = (
    "sudo systemd-sysusers && sudo systemd-tmpfiles --create greenrun.conf",
    "sudo systemctl daemon-reload && sudo systemctl reload dbus",
    "sudo systemctl enable --now greenrun",
    "sudo usermod --append --groups greenrun USER     # for each who may use it, and who then logs in again",
    "greenrun doctor",
)


def write_system_files(root: Path = Path("/")) -> list[Path]:
    """Write the unit and what goes with it; raise LocalError, and write none, where one is there and differs."""
    targets = {root / target.relative_to("/"): text_of(place) for place, target in SYSTEM_FILES.items()}
    differing = [path for path, text in targets.items() if path.exists() and path.read_text(encoding="utf-8") != text]
    if differing:
        raise LocalError(
            f"{', '.join(map(str, differing))} would be overwritten, so nothing of it was written: move what is there "
            "away; what you changed belongs into a drop-in (sudo systemctl edit greenrun)",
            USAGE,
        )
    for path, text in targets.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
        path.chmod(0o644)
    return list(targets)
