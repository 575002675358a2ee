"""A real daemon with bad plug-ins beside a good provider: it starts, plans by the good one, and says what fails."""

import json
import os
from pathlib import Path

from tests.documents import text
from tests.patience import until
from tests.system.harness import Daemon, replayed, write_trace

MODULE = text("docs/plugins.md").split("```python\n")[1].split("```")[0]
ANSWER = "return Forecast(series=Series.of(series, slots), fetched_at=now)"
BAD = {
    "naive": MODULE.replace("fetched_at=now", "fetched_at=now.replace(tzinfo=None)"),
    "exits": MODULE.replace(ANSWER, "raise SystemExit(7)"),
    "interrupts": MODULE.replace(ANSWER, "raise KeyboardInterrupt"),
    "closed": MODULE.replace("self.settle_after = settle_after", "raise SystemExit(9)"),
    "webless": MODULE.replace("    web = None\n", "    web = property(lambda self: {}['web'])\n"),
    "backwards": MODULE.replace("    refresh_every = HOUR\n", "    refresh_every = -HOUR\n"),
    "unopened": MODULE.replace("open=Lab", "open=None"),
}


def test_the_daemon_starts_and_plans_by_the_good_provider(folder: Path) -> None:
    site = folder / "site"
    site.mkdir()
    for name, code in BAD.items():
        _install(site, name, code)
    settings = replayed(write_trace(folder, [200] * 2000), speed=600, horizon="800h")
    bad = {name: {"kind": name, "g_per_kwh": 55} for name in BAD}
    settings = {
        "grid": {**settings["grid"], "provider": [*BAD, "trace"], "history_provider": ["trace"]},
        "provider": {**bad, **settings["provider"]},
    }
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    with Daemon(folder, settings, env={"PYTHONPATH": path}) as daemon:
        told = json.loads(daemon.cli("providers", "list", "--json").out)
        forecast = until(lambda: json.loads(daemon.cli("forecast", "--json").out), "there is a forecast")
        job = daemon.submit("--now", "--duration", "1s", "--", "true")
        assert daemon.wait_for(job)["state"] == "succeeded"
        failed = {line["provider"] for line in daemon.logged("provider failed, what is known stays in use")}
        again = {line["call"] for line in daemon.logged("failed, will be tried again")}
        assert daemon.terminate() == 0
    assert {row["name"] for row in told} == {*BAD, "trace"}
    assert forecast["provider"] == "trace"
    assert {"naive", "exits"} <= failed
    assert again == {"refresh interrupts"}


def _install(site: Path, name: str, code: str) -> None:
    (site / f"bad_{name}.py").write_text(code.replace('"lab"', f'"{name}"'), encoding="utf-8")
    info = site / f"bad_{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: bad-{name}\nVersion: 1.2\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[greenrun.providers]\n{name} = bad_{name}:PROVIDER\n", encoding="utf-8")
