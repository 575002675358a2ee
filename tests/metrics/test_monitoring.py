"""The rules, alerts and dashboards that greenrun ships: sound, tested both ways, and about metrics that there are."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.carbon.intensity import FallbackLevel
from greenrun.core.conditions import ConditionCode
from greenrun.core.jobs.job import Outcome, State
from greenrun.core.jobs.reasons import ReasonCode
from tests.conftest import require
from tests.documents import text
from tests.metrics.dashboards import ALERTS, DASHBOARDS, RULE_TESTS, RULES, blocks, panels, queries, read
from tests.metrics.scrape import families
from tests.patience import HANGS_S

SEVERITIES = {"critical", "warning", "info"}
WORDS = {
    "state": {*State},
    "rung": {*FallbackLevel},
    "outcome": {*Outcome, State.EXPIRED},
    "reason": {*ReasonCode},
    "condition": {*ConditionCode},
}


def promtool(*words: object) -> str:
    """Run promtool, which must be content, and return what it said."""
    tool = require("promtool", "install Debian's package prometheus")
    done = subprocess.run([tool, *map(str, words)], capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Why a job that is not finished may wait without an alert of its own: what ends the wait is known, or somebody's wish.
ENDS_BY_ITSELF = {
    ReasonCode.CLEANEST_WINDOW, ReasonCode.SHARED_WINDOW, ReasonCode.SUSPENDED,  # ... at a planned hour
    ReasonCode.RETRY_PAUSE, ReasonCode.RETRYING, ReasonCode.CHECKPOINTED,  # ... after a pause that has a limit
    ReasonCode.ARRAY_FULL, ReasonCode.WAITS_FOR, ReasonCode.RESOURCES_BUSY,  # ... with a job that has its own reason
    ReasonCode.GPU_QUOTA,  # ... likewise
    ReasonCode.BUDGET_SPENT, ReasonCode.BUDGET_APPROVAL,  # ... when the budget begins anew
    ReasonCode.HELD, ReasonCode.CANCEL_REQUESTED,  # ... as its user wants it
}  # fmt: skip
# Those of runs, and of jobs that have ended.
NO_WAIT = {
    ReasonCode.RUNNING, ReasonCode.GOES_ON, ReasonCode.CHECKPOINT_FAILED, ReasonCode.NO_PROGRESS, ReasonCode.SUCCEEDED,
    ReasonCode.EXIT_CODE, ReasonCode.SIGNALLED, ReasonCode.TIMED_OUT, ReasonCode.LOST, ReasonCode.INTERRUPTED,
    ReasonCode.CANCELLED, ReasonCode.ANOMALOUS, ReasonCode.DEPENDENCY_FAILED, ReasonCode.EXPIRED,
    ReasonCode.FAILED_TO_START, ReasonCode.OUT_OF_MEMORY,
}  # fmt: skip


# rules and alerts


def test_an_alert_knows_every_reason_for_which_a_job_can_wait_for_ever() -> None:
    named = re.findall(r'greenrun_jobs_waiting\{reason=~"([a-z_|]+)"', blocks(ALERTS, "alert")["GreenrunQueueStuck"])
    known = {ReasonCode(word) for each in named for word in each.split("|")}
    assert known == set(ReasonCode) - ENDS_BY_ITSELF - NO_WAIT


@pytest.mark.system
def test_promtool_accepts_the_rules_and_alerts() -> None:
    promtool("check", "rules", RULES, ALERTS)


@pytest.mark.system
@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_the_rules_and_alerts_do_what_their_tests_say(path: Path) -> None:
    promtool("test", "rules", path)


def test_every_alert_is_tested_to_fire_and_to_be_silent() -> None:
    told = "\n".join(path.read_text(encoding="utf-8") for path in RULE_TESTS)
    cases = re.findall(r'alertname="(\w+)", alertstate="firing"\}\)\'\n +eval_time: \S+\n +exp_samples: (\S)(\S)', told)
    fires = {name for name, _, first in cases if first == "{"}
    is_silent = {name for name, _, first in cases if first == "]"}
    assert (fires, is_silent) == (set(blocks(ALERTS, "alert")), set(blocks(ALERTS, "alert")))


def test_every_recording_rule_is_tested() -> None:
    told = "\n".join(path.read_text(encoding="utf-8") for path in RULE_TESTS)
    assert set(re.findall(r"expr: (\S+:\S+)\n", told)) == set(blocks(RULES, "record"))


@pytest.mark.parametrize("name", blocks(ALERTS, "alert"))
def test_an_alert_says_what_is_the_matter_and_what_to_do_and_waits_a_moment(name: str) -> None:
    block = blocks(ALERTS, "alert")[name]
    severity = re.search(r"labels: \{severity: (\w+)\}", block)
    assert severity is not None
    assert severity[1] in SEVERITIES
    assert [word for word in ("for: ", "summary: ", "description: ") if word not in block] == []


def test_every_alert_is_explained_and_no_other() -> None:
    assert re.findall(r"^\| `(Greenrun\w+)` \|", text("docs/monitoring.md"), re.MULTILINE) == [*blocks(ALERTS, "alert")]


def test_rules_alerts_and_dashboards_are_about_metrics_that_there_are() -> None:
    samples = {row.name for family in families() for row in family.samples}
    known = samples | set(blocks(RULES, "record"))
    used = [path.read_text(encoding="utf-8") for path in (RULES, ALERTS)] + [query.text for query in queries()]
    named = {name for each in used for name in re.findall(r"\b(?:\w+:)?greenrun_\w+(?::\w+)?", _expressions(each))}
    assert named - known == set()


def test_label_values_that_queries_look_for_are_such_that_occur() -> None:
    used = [path.read_text(encoding="utf-8") for path in (RULES, ALERTS)] + [query.text for query in queries()]
    for label, known in WORDS.items():
        found = [words for each in used for words in re.findall(rf'\b{label}(?:=|!=|=~|!~)"([^"]+)"', each)]
        assert found
        assert {word for words in found for word in words.split("|")} - known == set()


def _expressions(written: str) -> str:
    """Leave out what is said to people."""
    return re.sub(r"^ +annotations:\n(?: {10,}.*\n)+|^ *#.*$", "", written, flags=re.MULTILINE)


# dashboards


@pytest.mark.system
def test_every_query_of_the_dashboards_can_be_parsed(tmp_path: Path) -> None:
    rules = [{"record": f"query_{number}", "expr": query.text} for number, query in enumerate(queries())]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    assert f"{len(rules)} rules found" in promtool("check", "rules", path)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
class TestDashboard:
    """What holds for each dashboard."""

    def test_panels_have_a_title_a_unit_and_a_description_and_ids_of_their_own(self, path: Path) -> None:
        bare = [
            panel["title"]
            for panel in panels(path)
            if not (panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"])
        ]
        ids = [panel["id"] for panel in read(path)["panels"]]
        titles = [panel["title"] for panel in panels(path)]
        assert (bare, len(set(ids)), len(set(titles))) == ([], len(ids), len(titles))

    def test_every_panel_asks_the_data_source_that_is_chosen_and_the_hosts_that_are(self, path: Path) -> None:
        wanted = {"type": "prometheus", "uid": "${datasource}"}
        asked = [each for panel in panels(path) for each in (panel, *panel["targets"])]
        assert [each for each in asked if each["datasource"] != wanted] == []
        targets = [target["expr"] for panel in panels(path) for target in panel["targets"]]
        assert [expr for expr in targets if 'instance=~"$instance"' not in expr] == []
        assert [row["name"] for row in read(path)["templating"]["list"]] == ["datasource", "instance"]

    def test_no_time_is_absolute(self, path: Path) -> None:
        board = read(path)
        assert board["time"] == {"from": "now-24h", "to": "now"}
        assert re.findall(r"\d{4}-\d\d-\d\d|\b1[67]\d{8,}\b", path.read_text(encoding="utf-8")) == []

    def test_panels_do_not_overlap_and_fit_the_grid(self, path: Path) -> None:
        places = [panel["gridPos"] for panel in read(path)["panels"]]
        assert max(place["x"] + place["w"] for place in places) == 24
        assert [(one, other) for one in places for other in places if one is not other and _overlap(one, other)] == []


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[at] < other[at] + other[size] and other[at] < one[at] + one[size] for at, size in ("xw", "yh"))


def test_the_uids_of_the_dashboards_differ() -> None:
    assert len({read(path)["uid"] for path in DASHBOARDS}) == len(DASHBOARDS) == 2
