"""What greenrun runs in: Python, where it was installed, the variables that matter, and the settings file."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from greenrun import __version__
from greenrun.config import Config, load_config
from greenrun.core.errors import ConfigError
from greenrun.doctor.finding import Area, Finding, failed, ok, warning
from greenrun.paths import find_config


def check_environment(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Look at Python, at the kernel, and at whether the commands that are typed are this greenrun."""
    python = platform.python_version()
    yield ok(
        Area.ENVIRONMENT, f"greenrun {__version__} on Python {python} ({sys.executable}), Linux {platform.release()}"
    )
    if platform.system() != "Linux":
        yield failed(Area.ENVIRONMENT, f"this is {platform.system()}, and greenrun needs Linux", "run it on Linux")
    own, found = Path(sys.executable).parent, shutil.which("greenrun", path=environ.get("PATH"))
    if found is None:
        remedy = f'export PATH="{own}:$PATH", or ln -s {own / "greenrun"} ~/.local/bin/'
        yield warning(Area.ENVIRONMENT, "the command greenrun is not on PATH", remedy)
    elif Path(found).resolve().parent != own.resolve() and (own / "greenrun").exists():
        text = f"greenrun on PATH is {found}, which is another than this one, {own / 'greenrun'}"
        yield warning(Area.ENVIRONMENT, text, f'export PATH="{own}:$PATH", if this one is meant')
    if not environ.get("HOME"):
        text = f"HOME is not set: ~ in paths is taken for {Path('~').expanduser()}, and jobs get no HOME"
        yield warning(Area.ENVIRONMENT, text, f"export HOME={Path('~').expanduser()}")
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        text = (
            f"CUDA_VISIBLE_DEVICES is set here ({visible!r}): the daemon gives each job its own, by all GPUs there are"
        )
        yield warning(Area.ENVIRONMENT, text, "set devices.include to leave GPUs out; else unset CUDA_VISIBLE_DEVICES")


def check_settings(named: Path | None) -> tuple[Config | None, list[Finding]]:
    """Return the settings, None where they cannot be used, and what is to be said of them."""
    file = find_config(named)
    try:
        config = load_config(named)
    except ConfigError as exc:
        remedy = f"correct {file}; `greenrun config check` says what is left" if file else "correct the environment"
        problems = exc.problems or ()
        return None, [failed(Area.SETTINGS, str(problem), remedy) for problem in problems] or [
            failed(Area.SETTINGS, str(exc), remedy)
        ]
    stated = sum(setting.origin == "environment" for setting in config.effective().values())
    by_variables = f", {stated} of them by GREENRUN_ variables" if stated else ""
    if file is None:
        return config, [
            warning(
                Area.SETTINGS,
                f"there is no settings file, so the defaults hold{by_variables}",
                "greenrun init --zone ZONE",
            )
        ]
    return config, [ok(Area.SETTINGS, f"{file} is good{by_variables}"), *_readable_by_others(file)]


def _readable_by_others(file: Path) -> Iterator[Finding]:
    mode = file.stat().st_mode
    if mode & 0o002:
        yield failed(
            Area.SETTINGS, f"everybody on this machine may write {file}, and so decide what the daemon runs",
            f"chmod o-w {file}",
        )  # fmt: skip
    elif file.stat().st_uid not in (os.getuid(), 0):
        yield warning(
            Area.SETTINGS, f"{file} belongs to another user, who may change it", f"chown {os.getuid()} {file}"
        )
