"""`greenrun serve --detach`: start the daemon in the background, and return once it is ready or say why it is not."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event
from time import monotonic

from greenrun.cli.command import FAILED, LocalError
from greenrun.client import ApiClient, ClientError

READY_LIMIT_S = 120.0
LOOK_EVERY_S = 0.1
TAIL_LINES, TAIL_BYTES = 12, 1 << 14


def start(config: Path | None, socket: Path, log: Path) -> int:
    """Start a daemon that outlives this process, with its log in a file; return its pid once it is ready.

    Raise LocalError with the end of the log when it ends instead, and when it takes longer than two minutes.
    """
    client = ApiClient(socket, timeout_s=5)
    if _is_ready(client):
        raise LocalError(f"a daemon answers on {socket} already; use that one, or stop it first", FAILED)
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    begins = log.stat().st_size if log.exists() else 0
    # -P: what lies in the folder that somebody happens to be in is no module of ours
    command = [sys.executable, "-P", "-m", "greenrun.cli", "serve", *(["--config", str(config)] if config else [])]
    with log.open("ab") as file:
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    ends_s = monotonic() + READY_LIMIT_S
    while daemon.poll() is None:
        if _is_ready(client):
            return daemon.pid
        if monotonic() > ends_s:
            raise LocalError(
                f"the daemon (process {daemon.pid}) is still starting: {log} says what it does, and `greenrun list` "
                "answers once it is there",
                FAILED,
            )
        Event().wait(LOOK_EVERY_S)
    code = daemon.returncode if daemon.returncode > 0 else FAILED
    raise LocalError(f"the daemon could not start; its log, {log}, ends with\n{_tail(log, begins)}", code)


def _is_ready(client: ApiClient) -> bool:
    """Whether a daemon answers that has done its first tick."""
    with suppress(ClientError):
        return bool(client.health()["last_tick_at"])
    return False


def _tail(log: Path, begins: int) -> str:
    """Return the last lines of what was written from this byte on."""
    with log.open("rb") as file:
        file.seek(max(begins, log.stat().st_size - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])
