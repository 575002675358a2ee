"""Where greenrun's files are by convention; standard library only, because the CLI needs it before anything else."""

import os
import tomllib
from pathlib import Path

DEFAULT_STATE = "~/.local/state/greenrun"
DEFAULT_SOCKET = "$XDG_RUNTIME_DIR/greenrun/greenrun.sock"
SYSTEM_CONFIG = Path("/etc/greenrun/greenrun.toml")


def find_config(given: str | Path | None = None) -> Path | None:
    """Return the settings file: `given`, then GREENRUN_CONFIG, then the user's, then the system's; None when there is none.

    A file that was named is returned even when it does not exist, so that its absence can be reported.
    """
    named = given or os.environ.get("GREENRUN_CONFIG")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    candidates = (Path(base).expanduser() / "greenrun" / "greenrun.toml", SYSTEM_CONFIG)
    return next((path for path in candidates if path.is_file()), None)


def expand(path: str) -> Path:
    """Expand `~` and variables; an unset XDG_RUNTIME_DIR becomes /run/user/UID where that exists, else a folder in /tmp."""
    if "$XDG_RUNTIME_DIR" in path and not os.environ.get("XDG_RUNTIME_DIR"):
        runtime = Path(f"/run/user/{os.getuid()}")
        fallback = runtime if runtime.is_dir() else Path(f"/tmp/greenrun-{os.getuid()}")
        path = path.replace("$XDG_RUNTIME_DIR", str(fallback))
    return Path(os.path.expandvars(path)).expanduser()


def find_socket(given: str | None = None, config: str | Path | None = None) -> Path:
    """Return the daemon's socket: `given`, GREENRUN_SOCKET, `[api] socket` of the settings (environment first), default."""
    named = given or os.environ.get("GREENRUN_SOCKET") or os.environ.get("GREENRUN_API__SOCKET")
    return expand(named or _setting(config, "api", "socket") or DEFAULT_SOCKET)


def find_state(config: str | Path | None = None) -> Path:
    """Return the state folder that the settings name (environment first), or the default."""
    return expand(os.environ.get("GREENRUN_PATHS__STATE") or _setting(config, "paths", "state") or DEFAULT_STATE)


def _setting(config: str | Path | None, section: str, key: str) -> str | None:
    path = find_config(config)
    try:
        text = path.read_text(encoding="utf-8") if path else ""
        value = tomllib.loads(text).get(section, {}).get(key)
    except (OSError, tomllib.TOMLDecodeError, AttributeError):
        return None
    return value if isinstance(value, str) else None
