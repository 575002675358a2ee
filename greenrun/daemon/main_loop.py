"""Serve until a signal says otherwise: TERM and INT end the daemon, HUP has it read its settings again."""

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack

import structlog

from greenrun.config import Config, load_config
from greenrun.core.errors import ConfigError, GreenrunError
from greenrun.daemon.allocator import collect_seldom, forbid_core_dumps, give_memory_back
from greenrun.daemon.daemon import Daemon
from greenrun.daemon.known_values import settings_values
from greenrun.daemon.log_setup import configure_logs
from greenrun.daemon.systemd import notify

log = structlog.get_logger("greenrun.daemon.main_loop")

SWITCH_INTERVAL_S = 0.0005  # a tenth of Python's own: an answer takes many turns beside a thread that plans
FIXED = ("server.mode", "server.group", "paths.state", "paths.locks")  # what runs that are alive depend on


class Asked:
    """What signals have asked for."""

    def __init__(self) -> None:
        self.stops = self.reloads = False
        self.anything = threading.Event()

    def stop(self) -> None:
        """Ask for the end."""
        self.stops = True
        self.anything.set()

    def reload(self) -> None:
        """Ask for the settings to be read again."""
        self.reloads = True
        self.anything.set()


def serve(config: Config) -> int:
    """Run the daemon until TERM or INT, leaving jobs running; return the exit status. Raise GreenrunError.

    On HUP the settings are read again and the daemon's parts built anew with them, in the same process. Where they
    cannot be used, whichever part finds that, those that held before still hold.
    """
    configure_logs(config.log.format, config.log.level)
    asked = Asked()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.stop())
    signal.signal(signal.SIGHUP, lambda *_: asked.reload())
    notify("EXTEND_TIMEOUT_USEC=3600000000")  # an hour: a new release may have to rewrite a database of years
    forbid_core_dumps()
    give_memory_back()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    former: Config | None = None
    current: Config | None = config
    while current is not None:
        is_up = threading.Event()
        try:
            current, former = _serve_with(current, asked, is_up), current
        except GreenrunError as exc:
            if former is None or is_up.is_set():
                raise
            _keep(exc)
            current, former = former, None
    return 0


def _serve_with(config: Config, asked: Asked, is_up: threading.Event) -> Config | None:
    """Serve with these settings; return those to serve with next, None to end. Raise GreenrunError.

    `is_up` is set once they have proved to be usable.
    """
    configure_logs(config.log.format, config.log.level)
    with ExitStack() as parts:
        daemon = Daemon(config, parts)
        daemon.start()
        collect_seldom()
        is_up.set()
        notify("READY=1")
        new = _next_settings(config, asked, daemon.renew_certificates)
        notify("STOPPING=1" if new is None else "RELOADING=1")
        daemon.stop()
    return new


def _next_settings(config: Config, asked: Asked, renew: Callable[[], None]) -> Config | None:
    """Wait for other settings that can be used, or for the end (None); with the same ones `renew` certificates."""
    while True:
        asked.anything.wait()
        asked.anything.clear()
        if asked.stops:
            return None
        if asked.reloads:
            asked.reloads = False
            try:
                new = read_again(config)
                if new is None:
                    renew()
            except ConfigError as exc:
                _keep(exc)
                continue
            if new is not None:
                return new


def read_again(config: Config) -> Config | None:
    """Return the settings as they are written now, None if they are the same; raise ConfigError."""
    new = load_config(config.read_from)
    before, now = settings_values(config), settings_values(new)  # what shows a change of a key too
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if fixed := [key for key in changed if key in FIXED]:
        raise ConfigError(f"{', '.join(fixed)} can only be changed by a restart: systemctl restart greenrun")
    log.info("settings read again", changed=changed)
    notify("STATUS=The settings were read again.")
    return new if changed else None


def _keep(why: GreenrunError) -> None:
    """Tell that the settings stay what they were."""
    log.error("settings not taken, those before hold", why=str(why))
    notify("STATUS=The settings are not taken, those before hold: " + str(why).replace("\n", " ")[:1000])
