"""The running daemon: whether it answers, what it says is wrong, and whether its metrics can be scraped."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from greenrun import __version__
from greenrun.client import ApiClient, ClientError, NotReachable
from greenrun.config import Config
from greenrun.doctor.finding import Area, Finding, failed, ok, warning

LIMIT_S = 5.0
_MOST_BYTES = 1 << 22
_LEVELS = {"failing": failed, "not_ready": warning, "warning": warning}


def ask_daemon(path: Path, state: Path | None) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Return the health that the daemon reports, None where none answers, and what is to be said of it.

    `state` is the state folder, where the settings can be read.
    """
    try:
        health = ApiClient(path, timeout_s=LIMIT_S).health()
    except NotReachable as exc:
        holder = _holder(state / "daemon.lock") if state else None
        if holder is not None:
            text = f"process {holder} is a daemon that holds {state}, and does not answer on {path}"
            return None, [
                failed(Area.DAEMON, f"{text} ({exc})", f"kill {holder}, then start it again: running jobs go on")
            ]
        if path.exists():
            return None, [failed(Area.DAEMON, str(exc), "start it: greenrun serve --detach")]
        return None, [ok(Area.DAEMON, f"no daemon runs (there is no {path})", "greenrun serve --detach")]
    except ClientError as exc:
        return None, [failed(Area.DAEMON, str(exc), "see what its log says")]
    found = [_LEVELS[row["effect"]](Area.DAEMON, row["text"], row["remedy"]) for row in health["conditions"]]
    if health["version"] != __version__:
        text = f"the daemon is greenrun {health['version']}, and this is {__version__}"
        found.append(warning(Area.DAEMON, text, "restart the daemon: running jobs go on"))
    return health, found or [ok(Area.DAEMON, f"the daemon answers on {path} and says that all is well")]


def _holder(lock: Path) -> int | None:
    """Return the process that holds a lock file, by the kernel's list; to try the lock could keep a daemon from it."""
    try:
        inode = lock.stat().st_ino
        rows = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
    except OSError:
        return None
    held = [row for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5].rpartition(":")[2] == str(inode)]
    return int(held[0][4]) if held else None


def check_prometheus(config: Config, *, runs: bool) -> Iterator[Finding]:
    """Scrape the metrics as Prometheus would; without a daemon see whether it could serve them."""
    address = config.api.metrics
    if address is None:
        yield ok(Area.PROMETHEUS, 'metrics are off (api.metrics = "")')
    elif runs:
        yield _scraped(address.host, address.port)
    else:
        yield _free(address.host, address.port)


def _scraped(host: str, port: int) -> Finding:
    where = f"http://{host}:{port}/metrics"
    if port == 0:
        return ok(Area.PROMETHEUS, "metrics are on a port that the system chose; the daemon's log says which")
    connection = HTTPConnection(host, port, timeout=LIMIT_S)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        body = answer.read(_MOST_BYTES)
    except (OSError, HTTPException) as exc:
        return failed(
            Area.PROMETHEUS, f"{where} does not answer ({exc}), though the daemon does",
            "restart the daemon if api.metrics was changed; else see its log",
        )  # fmt: skip
    finally:
        connection.close()
    if answer.status != 200 or b"greenrun_" not in body:
        return failed(
            Area.PROMETHEUS, f"{where} is somebody else's (HTTP {answer.status}, without greenrun's metrics)",
            "set api.metrics to another address and restart the daemon",
        )  # fmt: skip
    return ok(Area.PROMETHEUS, f"{where} can be scraped; `greenrun config dashboards` has rules and dashboards")


def _free(host: str, port: int) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return ok(Area.PROMETHEUS, f"metrics would be on http://{host}:{port}/metrics")
    return failed(
        Area.PROMETHEUS, f"{host}:{port} is in use by another program, so the daemon could not start",
        f"see who: ss -ltnp sport = :{port}; or set api.metrics to another address",
    )  # fmt: skip
