"""Runs that the database does not know are told where people look for what runs, and have a list of their own."""

import json
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.examples import at, job
from tests.fake_api import FakeApi


def stray(run: str = "12.1", *devices: str) -> dict[str, Any]:
    return {"run": run, "devices": list(devices), "folder": f"/s/{run}", "log": None, "started_at": at(hours=-1)}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([stray("12.1", "GPU-1")], "A run that is alive is in no database of this daemon (12.1), holding GPU-1:"),
        ([stray("12.1"), stray("9.2")], "2 runs that are alive are in no database of this daemon (12.1, 9.2):"),
        ([stray(f"{n}.1", "GPU-1") for n in range(1, 13)], "12 runs that are alive are in no database of this daemon"),
    ],
)
def test_a_list_of_jobs_names_below_what_it_cannot_list(
    api: FakeApi, run: Run, rows: list[dict[str, Any]], said: str
) -> None:
    api.get("/v1/jobs", [job(1)])
    api.get("/v1/stray-runs", rows)
    last = run("list").out.splitlines()[-1]
    assert (last.startswith(said), last.endswith("see `greenrun stray-runs`.")) == (True, True)
    assert [each["id"] for each in json.loads(run("list", "--json").out)] == [1]


@pytest.mark.parametrize("knows", [True, False], ids=["there are none", "a daemon that does not know of them"])
def test_nothing_is_said_where_there_are_none(api: FakeApi, run: Run, knows: bool) -> None:
    api.get("/v1/jobs", [])
    if knows:
        api.get("/v1/stray-runs", [])
    assert run("list").out == "no jobs\n"


def test_they_are_listed_with_what_they_hold(api: FakeApi, run: Run) -> None:
    api.get("/v1/stray-runs", [stray("12.1", "GPU-1", "GPU-2"), stray("9.2")])
    lines = run("stray-runs").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["12.1", "9.2"]
    assert ("GPU-1, GPU-2" in lines[1], "a CPU slot" in lines[2]) == (True, True)
