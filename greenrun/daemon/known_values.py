"""What a start finds changed since the last one, for the audit trail: settings, the files of secrets, and devices."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import structlog

from greenrun import __version__
from greenrun.config import Config
from greenrun.core.energy.model import Device
from greenrun.core.errors import StoreError
from greenrun.core.jobs.trail import EventKind
from greenrun.store.trail import SECRET, TrailRepository

SETTINGS, DEVICES = "settings", "devices"

log = structlog.get_logger("greenrun.daemon.known_values")


def note_changes(trail: TrailRepository, config: Config, devices: Iterable[Device], now: datetime) -> None:
    """Add events of what has changed since the last start; that they cannot be kept is not worth failing for."""
    detail = {"version": __version__, "file": str(config.read_from) if config.read_from else None}
    found = {device.id: json.dumps(f"{device.model} ({device.kind.value})") for device in devices}
    try:
        trail.keep_known(SETTINGS, settings_values(config), EventKind.SETTINGS_CHANGED, now=now, detail=detail)
        trail.keep_known(DEVICES, found, EventKind.DEVICES_CHANGED, now=now, detail={})
    except StoreError as exc:
        log.warning("changes of settings and devices cannot be kept", error=str(exc))


def settings_values(config: Config) -> dict[str, str]:
    """Return each setting in effect as JSON, and in place of what is secret something that changes when it does.

    A secret is the content of a file that a setting names, whose size and time tell of a change, or a key in an
    address or among the arguments of a command, of which a part of a digest does.
    """
    values = {key: setting.value for key, setting in config.effective().items()}
    for key, value in list(values.items()):
        if key.endswith(".command") and isinstance(value, list) and len(value) > 1:
            values[key] = value = f"{value[0]} ***"
        if isinstance(value, str) and "***" in value:
            values[f"{key} (key)"] = {SECRET: sha256(str(_unmasked(config, key)).encode()).hexdigest()[:16]}
        if key.endswith("_file") and value:
            values[f"{key} (content)"] = {SECRET: _state_of(Path(str(value)))}
    return {key: json.dumps(value, sort_keys=True) for key, value in values.items()}


def _unmasked(config: Config, key: str) -> object:
    """Return a setting as it was read, where what is shown of it hides a part."""
    found: object = config
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else getattr(found, name, None)
    return found


def _state_of(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "cannot be read"
    return f"{found.st_size} bytes of {found.st_mtime_ns}"
