"""A real Prometheus with a folder of its own, scraping one address every second and answering queries."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.conftest import require
from tests.patience import HANGS_S, exit_code, until


class Prometheus:
    """A running server."""

    def __init__(self, port: int) -> None:
        self._port = port

    def value(self, query: str) -> float | None:
        """Return the answer to an instant query that has one number; None while it has none."""
        found = self._get(f"/api/v1/query?{urlencode({'query': query})}")
        rows = found["data"]["result"] if found else []
        return float(rows[0]["value"][1]) if len(rows) == 1 else None

    def at(self, query: str, time_s: float) -> dict[str, float]:
        """Return the answer to an instant query as of a time (seconds since the epoch), by the values of its labels."""
        found = self._get(f"/api/v1/query?{urlencode({'query': query, 'time': time_s})}")
        assert found is not None, query
        rows: list[Any] = found["data"]["result"]
        own = ("__name__", "instance", "job")
        names = [" ".join(value for name, value in row["metric"].items() if name not in own) for row in rows]
        assert len(set(names)) == len(names), names
        return {name: float(row["value"][1]) for name, row in zip(names, rows, strict=True)}

    def has_data(self, query: str) -> bool:
        """Whether an instant query has any answer at all; a value that is no number is none."""
        found = self._get(f"/api/v1/query?{urlencode({'query': query})}")
        return any(row["value"][1] != "NaN" for row in found["data"]["result"]) if found else False

    def is_ready(self) -> bool:
        """Whether it answers queries."""
        return self._get("/api/v1/query?query=1") is not None

    def _get(self, path: str) -> dict[str, dict[str, list[dict[str, list[str]]]]] | None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=HANGS_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return dict(json.loads(response.read())) if response.status == 200 else None
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()


@contextmanager
def scraping(address: str, folder: Path, rules: Sequence[Path] = (), every: str = "1s") -> Iterator[Prometheus]:
    """Run Prometheus on `address` with its data in `folder`; skip the test where it is not installed."""
    scrape = {"job_name": "greenrun", "static_configs": [{"targets": [address]}]}
    settings = {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "scrape_configs": [scrape],
        "rule_files": list(map(str, rules)),
    }
    with serving(folder, settings) as running:
        yield running


@contextmanager
def serving(folder: Path, settings: Mapping[str, Any], *flags: str) -> Iterator[Prometheus]:
    """Run Prometheus with these settings and its data in `folder`; skip the test where it is not installed."""
    program = require("prometheus", "install Debian's package prometheus")
    config, told = folder / "prometheus.yml", folder / "prometheus.log"
    config.write_text(json.dumps(settings), encoding="utf-8")
    with told.open("wb") as log:
        server = subprocess.Popen(
            [
                program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
                "--web.listen-address=127.0.0.1:0", *flags,
            ],
            stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
    try:
        until(lambda: _port(told) or server.poll() is not None, told.read_text)
        running = Prometheus(_port(told) or 0)
        until(running.is_ready, lambda: f"Prometheus answers:\n{told.read_text()}")
        yield running
    finally:
        server.terminate()
        exit_code(server)


def _port(log: Path) -> int | None:
    """Return the port that the server says the system gave it."""
    found = re.search(r'"Listening on" address=127\.0\.0\.1:(\d+)\n', log.read_text())
    return int(found[1]) if found else None
