"""The systemd user unit for this installation: where it goes, and what it says."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from greenrun.packaged import USER_UNIT, text_of

NAME = "greenrun.service"
START = ("systemctl --user daemon-reload", "systemctl --user enable --now greenrun", "loginctl enable-linger")
_PATH, _START = "Environment=PATH=", "ExecStart=/usr/bin/env greenrun serve"


def unit_path(environ: Mapping[str, str]) -> Path:
    """Return where the user's own units are."""
    base = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "systemd" / "user" / NAME


def unit_text(config: Path | None) -> str:
    """Return the unit that runs this greenrun; `config` is the settings file that it would not find by itself."""
    folder = Path(sys.executable).parent
    text = text_of(USER_UNIT).replace(_PATH, f"{_PATH}{_quoted(str(folder))}:", 1)
    return text if config is None else text.replace(_START, f"{_START} --config {_quoted(str(config))}", 1)


def has_user_manager(environ: Mapping[str, str]) -> bool:
    """Whether a systemd of this user runs, which could start the unit."""
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return (Path(runtime) / "systemd" / "private").exists()


def _quoted(text: str) -> str:
    """Return text in which systemd finds no specifier; blanks and quotes it would take apart, so they are escaped."""
    escaped = text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return "".join(rf"\x{ord(sign):02x}" if sign in " \t" else sign for sign in escaped)
