"""A real daemon is given a past: it has it at once, and still after kill -9; a second time brings nothing."""

import json
from datetime import datetime, timedelta
from pathlib import Path

from greenrun.clock import utc_now
from tests.system.harness import Daemon, instant

HOUR = timedelta(hours=1)


def write(path: Path, first: datetime, count: int) -> Path:
    """Write a CSV file of hours."""
    rows = [f"{(first + n * HOUR).isoformat()},{100 + n % 24}" for n in range(count)]
    path.write_text("\n".join(["start,g_per_kwh", *rows, ""]), encoding="utf-8")
    return path


def test_a_past_is_imported_and_fetched_kept_and_listed(folder: Path) -> None:
    hour = utc_now().replace(minute=0, second=0, microsecond=0)
    recent = write(folder / "grid.csv", hour - 40 * HOUR, 100)
    past = write(folder / "past.csv", hour - 1000 * HOUR, 960)
    grid = {"zone": "GB", "provider": "own", "history_retention": "60d"}
    settings = {"grid": grid, "provider": {"own": {"kind": "file", "path": str(recent)}}}
    with Daemon(folder, settings) as daemon:
        words = ("history", "import", past, "--provider", "own", "--json")
        first, second = (json.loads(daemon.cli(*words).out) for _ in range(2))
        assert (first["given"], first["new"], first["is_used"], second["new"]) == (960, 960, True, 0)
        since = (hour - 40 * HOUR).isoformat()
        fetched = json.loads(daemon.cli("history", "fetch", "--from", since, "--json").out)
        over = (utc_now() - (hour - 40 * HOUR)) // HOUR  # one more where an hour ended meanwhile
        assert (fetched["given"] in (40, over), fetched["series"]["provider"], fetched["missing"]) == (True, "own", [])
        refused = daemon.cli("history", "fetch", "--from", (hour - 2000 * HOUR).isoformat())
        assert (refused.code, "set [grid] history_retention higher" in refused.err) == (2, True)
        daemon.kill9()
        daemon.start()
        (told,) = json.loads(daemon.cli("providers", "list", "--json").out)
        assert (told["role"], instant(told["measured_from"])) == ("both", hour - 1000 * HOUR)
        assert instant(told["measured_until"]) >= hour
        assert daemon.cli("providers", "check").code == 0
