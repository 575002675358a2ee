"""The cases of ../shared/cases: inputs that once went wrong, and a server that plays what sources answered."""

import importlib
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from greenrun.clock import utc_now
from tests.conftest import SHARED, require
from tests.patience import until

CASES = SHARED / "cases"
GRID = CASES / "grid"
HOUR = timedelta(hours=1)


def rows(section: str) -> list[str]:
    """The first column of the table in a section of the cases' README, as it is written there."""
    text = require(CASES / "README.md", "it lists the cases").read_text(encoding="utf-8")
    part = text.split(f"\n## {section}", 1)[1].split("\n## ", 1)[0]
    cells = [re.split(r"(?<!\\)\|", line)[1].strip() for line in part.splitlines() if line.startswith("|")]
    return [cell for cell in cells[2:] if cell]


@contextmanager
def played() -> Iterator[str]:
    """Give the address at which each scenario is played, by its first part."""
    script = require(GRID / "mock.py", "it plays what sources answered")
    while True:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-B", str(script), str(port)]
        with subprocess.Popen(command, cwd=GRID, stderr=subprocess.DEVNULL) as server:
            try:
                until(partial(_is_decided, server, port))
                if server.poll() is None:  # else somebody else has taken the port meanwhile
                    yield f"http://127.0.0.1:{port}"
                    return
            finally:
                server.kill()


def _is_decided(server: subprocess.Popen[bytes], port: int) -> bool:
    return server.poll() is not None or _listens(port)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def section(folder: Path, url: str, kind: str) -> Mapping[str, Any]:
    """The settings of a source of a kind, with a key or a password where it has one."""
    key = folder / "key"
    key.write_text("any-text\n", encoding="utf-8")
    key.chmod(0o600)
    secrets = {
        "electricity_maps": {"key_file": str(key)}, "entsoe": {"key_file": str(key)},
        "watttime": {"username": "ada", "password_file": str(key)},
    }  # fmt: skip
    return {"kind": kind, "url": url, **secrets.get(kind, {})}


@contextmanager
def played_with_history(scenario: str, g_per_kwh: float) -> Iterator[str]:
    """Give the address of a scenario of Electricity Maps, with the last 24 hours, which its free plan tells.

    The server of the cases does not know these; all else is as there.
    """
    require(GRID / "scen.py", "it knows what sources answered")

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def send(self, status: int, body: object, headers: object = None, ctype: str = "application/json") -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", ctype)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def do_GET(self) -> None:
            url, now = urlsplit(self.path), utc_now()
            asked = dict(parse_qsl(url.query))
            _, *parts = url.path.strip("/").split("/")
            if parts[-1] == "history":
                self.send(200, _last_day(asked["zone"], now, g_per_kwh))
            elif parts[-1] == "past-range":
                self.send(401, {"error": "Request unauthorized", "message": "not in this plan"})
            else:
                scenarios.answer(self, scenario, parts, asked, now, 1)

    sys.path.insert(0, str(GRID))
    is_written, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # what is shared is only read
    try:
        scenarios = importlib.import_module("scen")
    finally:
        sys.path.remove(str(GRID))
        sys.dont_write_bytecode = is_written
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/{scenario}"
    finally:
        server.shutdown()
        server.server_close()


def _last_day(zone: str, now: datetime, g_per_kwh: float) -> Mapping[str, Any]:
    hour = now.replace(minute=0, second=0, microsecond=0)
    values = [
        {
            "zone": zone, "carbonIntensity": g_per_kwh, "datetime": f"{hour - HOUR * ago:%Y-%m-%dT%H:%M:%S.000Z}",
            "updatedAt": f"{now:%Y-%m-%dT%H:%M:%S.000Z}", "emissionFactorType": "lifecycle", "isEstimated": False,
            "estimationMethod": None,
        }
        for ago in range(24, 0, -1)
    ]  # fmt: skip
    return {"zone": zone, "history": values, "temporalGranularity": "hourly"}
