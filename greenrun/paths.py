"""Where greenrun's files are by convention; standard library only, because the CLI needs it before anything else."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

JOB_ENVIRONMENT = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_*", "TZ", "VIRTUAL_ENV", "CONDA_*", "PYTHONPATH",
    "LD_LIBRARY_PATH",
)  # fmt: skip
DEFAULT_STATE = "~/.local/state/greenrun"
DEFAULT_SOCKET = "$XDG_RUNTIME_DIR/greenrun/greenrun.sock"
SYSTEM_CONFIG = Path("/etc/greenrun/greenrun.toml")
SYSTEM_STATE = Path("/var/lib/greenrun")
SYSTEM_SOCKET = Path("/run/greenrun/greenrun.sock")
SERVICE_LOCKS = Path("/run/greenrun/locks")  # of a daemon that is the machine's only one: nobody else may hold them
SYSTEM_LOCKS = Path("/run/lock/greenrun")
FALLBACK_LOCKS = Path("/tmp/greenrun-locks")


def find_config(given: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the settings file: `given`, GREENRUN_CONFIG, the user's, the system's; None when there is none.

    A file that was named is returned even when it does not exist, so that its absence can be reported.
    """
    environ = os.environ if environ is None else environ
    named = given or environ.get("GREENRUN_CONFIG")
    if named:
        return Path(named).expanduser()
    base = environ.get("XDG_CONFIG_HOME") or "~/.config"
    candidates = (Path(base).expanduser() / "greenrun" / "greenrun.toml", SYSTEM_CONFIG)
    return next((path for path in candidates if path.is_file()), None)


def expand(path: str) -> Path:
    """Expand `~` and variables; an unset XDG_RUNTIME_DIR becomes /run/user/UID if there is one, else in /tmp."""
    if "$XDG_RUNTIME_DIR" in path and not os.environ.get("XDG_RUNTIME_DIR"):
        runtime = Path(f"/run/user/{os.getuid()}")
        fallback = runtime if runtime.is_dir() else Path(f"/tmp/greenrun-{os.getuid()}")
        path = path.replace("$XDG_RUNTIME_DIR", str(fallback))
    return Path(os.path.expandvars(path)).expanduser()


def rooted(path: str, folder: Path) -> Path:
    """Expand a path that a settings file in `folder` states: a relative one is meant from that folder."""
    return folder.absolute() / expand(path)


def find_locks() -> Path:
    """Return the folder of host-wide device locks: it depends on modes, not on who asks, so all users get the same."""
    usable = any(_open_to_all(folder) for folder in (SYSTEM_LOCKS, SYSTEM_LOCKS.parent))
    return SYSTEM_LOCKS if usable else FALLBACK_LOCKS


def find_socket(given: str | None = None, config: str | Path | None = None) -> Path:
    """Return the daemon's socket: `given`, GREENRUN_SOCKET, `[api] socket` (environment first), or the default."""
    named = given or os.environ.get("GREENRUN_SOCKET") or os.environ.get("GREENRUN_API__SOCKET")
    if named:
        return expand(named)
    return _stated(config, "api", "socket") or (SYSTEM_SOCKET if _is_system(config) else expand(DEFAULT_SOCKET))


def find_state(config: str | Path | None = None) -> Path:
    """Return the state folder that the settings name (environment first), or the default."""
    named = os.environ.get("GREENRUN_PATHS__STATE")
    if named:
        return expand(named)
    return _stated(config, "paths", "state") or (SYSTEM_STATE if _is_system(config) else expand(DEFAULT_STATE))


def find_job_environment(config: str | Path | None = None) -> tuple[str, ...]:
    """Return the names of what jobs get of their submitter's environment: `[jobs] env`, or the default."""
    listed = os.environ.get("GREENRUN_JOBS__ENV")
    if listed is not None:
        return tuple(name.strip(' "[]') for name in listed.split(","))
    names = _table(find_config(config), "jobs").get("env")
    return tuple(map(str, names)) if isinstance(names, list) else JOB_ENVIRONMENT


def folder_open_to_others(folder: Path) -> tuple[Path, str] | None:
    """Return the folder in which others could put a socket of their own, and why; None where nobody could.

    That is `folder` and, in a shared one like /tmp where anybody may make folders, all up to that. Raise OSError.
    """
    places = [folder, *folder.parents]
    shared = next((index for index, place in enumerate(places) if _is_shared(place.lstat())), 1)
    return next(((place, why) for place in places[: shared or 1] if (why := _openness(place.lstat()))), None)


def _is_shared(found: os.stat_result) -> bool:
    return bool(found.st_mode & stat.S_ISVTX) and found.st_uid in (0, os.getuid())


def _openness(found: os.stat_result) -> str | None:
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link"
    if found.st_uid not in (0, os.getuid()):
        return f"belongs to the user {found.st_uid}"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        return "can be written by others"
    return None


def _is_system(config: str | Path | None) -> bool:
    mode = os.environ.get("GREENRUN_SERVER__MODE") or _table(find_config(config), "server").get("mode")
    return mode == "system"


def _stated(config: str | Path | None, section: str, key: str) -> Path | None:
    path = find_config(config)
    value = _table(path, section).get(key)
    return rooted(value, path.parent) if path and isinstance(value, str) else None


def _table(path: Path | None, section: str) -> dict[str, object]:
    """A table of the settings, empty when it cannot be read: what is wrong with them, the daemon tells."""
    if path is None:
        return {}
    import tomllib

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig")).get(section)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _open_to_all(folder: Path) -> bool:
    try:
        mode = folder.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and bool(mode & stat.S_IWOTH)
