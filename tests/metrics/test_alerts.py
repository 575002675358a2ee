"""Every alert fires when what it is about happens, and at no other time, by what the daemon's own collectors say.

Scripted troubles (`tests/metrics/troubles.py`) are lived through in virtual time, and Prometheus's own promtool
evaluates the rules and alerts on what would have been scraped every 15 s.
"""

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require
from tests.metrics.dashboards import ALERTS, RULES, blocks, queries
from tests.metrics.troubles import SCENES, Alarm, as_series, lived
from tests.patience import HANGS_S
from tests.sampling import sampled

pytestmark = [pytest.mark.system, pytest.mark.slow]


def test_every_alert_has_a_trouble_that_raises_it() -> None:
    raised = {alarm.alert for scene in SCENES.values() for alarm in scene.alarms if alarm.by < alarm.until}
    assert raised == set(blocks(ALERTS, "alert"))


@pytest.mark.parametrize("name", sampled(list(SCENES), "scenes", user=2, ci=len(SCENES)))
def test_alerts_fire_while_what_they_are_about_goes_on_and_at_no_other_time(name: str, tmp_path: Path) -> None:
    promtool, scene = require("promtool", "install Debian's package prometheus"), SCENES[name]
    series = as_series(lived(scene, tmp_path), scene.minutes)
    asked = [row for minute in range(scene.minutes) for row in judged(minute, scene.alarms)]
    test = {
        "rule_files": [str(RULES), str(ALERTS)],
        "evaluation_interval": "15s",
        "tests": [{"interval": "15s", "input_series": series, "promql_expr_test": asked}],
    }
    path = tmp_path / "scene.yml"
    path.write_text(json.dumps(test), encoding="utf-8")
    done = subprocess.run(
        [promtool, "test", "rules", path], capture_output=True, text=True, timeout=HANGS_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def judged(minute: int, alarms: list[Alarm]) -> list[dict[str, object]]:
    """What promtool is to find of each alert, and of the panel that counts them, where that is promised."""
    found, firing = [], dict[str, bool | None]()
    for alert in blocks(ALERTS, "alert"):
        own = [alarm.says(minute) for alarm in alarms if alarm.alert == alert]
        firing[alert] = True if True in own else None if None in own else False
    for alert, fires in firing.items():
        expr = f'group(ALERTS{{alertname="{alert}", alertstate="firing"}}) * {minute}0'
        told = [{"labels": "{}", "value": minute * 10}] if fires else []
        found += [] if fires is None else [{"expr": expr, "eval_time": f"{minute}m", "exp_samples": told}]
    if not any(firing.values()) and None not in firing.values():
        panel = next(query.text for query in queries() if query.panel == "Alerts")
        found.append({"expr": panel, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": 0}]})
    return found
