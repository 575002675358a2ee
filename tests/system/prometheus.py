"""A real Prometheus with a folder of its own, scraping one address every second and answering queries."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlencode

from tests.conftest import require
from tests.patience import HANGS_S, exit_code, until
from tests.system.harness import free_port


class Prometheus:
    """A running server."""

    def __init__(self, port: int) -> None:
        self._port = port

    def value(self, query: str) -> float | None:
        """Return the answer to an instant query that has one number; None while it has none."""
        found = self._get(f"/api/v1/query?{urlencode({'query': query})}")
        rows = found["data"]["result"] if found else []
        return float(rows[0]["value"][1]) if len(rows) == 1 else None

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
    program = require("prometheus", "install Debian's package prometheus")
    port, config = free_port(), folder / "prometheus.yml"
    scrape = {"job_name": "greenrun", "static_configs": [{"targets": [address]}]}
    settings = {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "scrape_configs": [scrape],
        "rule_files": list(map(str, rules)),
    }
    config.write_text(json.dumps(settings), encoding="utf-8")
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(
            [
                program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
    try:
        running = Prometheus(port)
        until(running.is_ready, "Prometheus answers")
        yield running
    finally:
        server.terminate()
        exit_code(server)
