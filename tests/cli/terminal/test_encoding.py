"""No output ends in a traceback, whatever characters the terminal has, and JSON stays JSON."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.examples import at, job, planned, run_of
from tests.fake_api import FakeApi, problem

NAME = "漢字 ü … 👍🏽"
SHOWN = (
    ["list", "--all"], ["show", "12"], ["explain", "12"], ["plan"], ["forecast"], ["forecast", "--plot"],
    ["list", "--all", "--json"], ["forecast", "--json"], ["show", "99"], ["show", "99", "--json"], ["top", "--once"],
    ["--help"], ["report", "--schema"],
)  # fmt: skip
DRIVER = """
import json, sys
from greenrun.cli.app import main
for words in json.loads(sys.argv[1]):
    code = main(words)
    print()
    print("left with", code, flush=True)
"""


@pytest.mark.parametrize(
    "environ",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=lambda environ: next(iter(environ.values())),
)
def test_every_view_can_be_shown_in_any_encoding(api: FakeApi, environ: dict[str, str]) -> None:
    slots = [
        {"start": at(hours=n), "end": at(hours=n + 1), "g_per_kwh": 90.0 + n, "kind": "forecast"} for n in range(9)
    ]
    waits = job(name=NAME, reason={"code": "x", "text": f"waits for {NAME} \udc80"}, planned=planned())
    api.get(
        "/v1/jobs",
        [waits, job(13, state="running", name=NAME, planned=None, runs=[run_of(ended_at=None, outcome=None)])],
    )
    api.get("/v1/jobs/12", waits | {"runs": [run_of(log=f"/state/{NAME}")]})
    api.get("/v1/jobs/12/explain", {"job": 12, "sentences": [f"Job 12 ({NAME}) waits."], "reason": None})
    api.get("/v1/jobs/99", problem(404, "job not found", f"There is no {NAME} \udc80."), 404)
    placement = {"job": 12, "gpus": 1, "late": False, "reason": {"code": "x", "text": NAME}, **planned()}
    api.get(
        "/v1/plan", {"placements": [placement], "waiting": [], "expected_g": None, "gap_ratio": None, "bound_g": None}
    )
    api.get("/v1/forecast", {"zone": "DE", "provider": "…", "rung": "fresh", "slots": slots, "why": ""})
    for path in ("/v1/devices", "/v1/drains"):
        api.get(path, [])
    api.get("/healthz", {"status": "ok", "reasons": [NAME]})
    ran = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(SHOWN)],
        env={**os.environ, "GREENRUN_SOCKET": str(api.socket), **environ},
        capture_output=True,
        check=False,
    )
    out = ran.stdout.decode("latin-1")
    assert (b"Traceback" in ran.stderr, ran.returncode) == (False, 0), ran.stderr
    assert out.count("\nleft with 0\n") == len(SHOWN) - 2, out
    assert "\\u6f22" in out
    assert " g/kWh  _" in out
    answers = [json.loads(line) for line in out.splitlines() if line.startswith(("[", '{"zone'))]
    assert [answers[0][0]["name"], answers[1]["provider"]] == [NAME, "…"]


def test_what_is_not_utf_8_is_refused_in_a_sentence_and_asked_for_in_vain(api: FakeApi, run: Run) -> None:
    api.get("/v1/jobs/select", problem(404, "job not found", "There is none."), 404)
    api.get("/v1/jobs", [])
    assert run("list", "--project", "n\udcffame").out == "no such jobs\n"
    assert "Traceback" not in run("show", "n\udcffame").err


@pytest.mark.parametrize("text", ["\udcff", "a\udc80b"])
def test_a_field_that_is_not_utf_8_is_told_so(text: str) -> None:
    from greenrun.api.job_request import JobIn

    body: dict[str, Any] = {"command": ["true", text], "workdir": "/", "duration_s": 60}
    with pytest.raises(ValueError, match=r"must be UTF-8, and .*udc.* is not: rename what is called so"):
        JobIn.model_validate(body)
