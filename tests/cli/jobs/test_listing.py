"""`list` fits any terminal, and tells what each job waits for or how far it is."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from greenrun.cli.terminal import live_screen
from greenrun.cli.terminal.width import cell_width
from tests.cli.conftest import Run
from tests.cli.examples import at, job, planned, run_of
from tests.fake_api import Asked, FakeApi


def anomaly(name: str, *, until: str | None) -> dict[str, str | None]:
    """An anomaly of a run."""
    return {"anomaly": name, "since": at(minutes=-20), "until": until, "text": f"it is {name}"}


def test_the_default_list_is_what_is_unfinished_and_the_last_ten_finished(api: FakeApi, run: Run) -> None:
    def answer(asked: Asked) -> tuple[int, object]:
        finished = "succeeded" in asked.query["state"]
        return 200, [job(3, state="failed")] if finished else [job(2), job(4)]

    api.answers["GET", "/v1/jobs"] = answer
    listed = json.loads(run("list", "--project", "x", "--json").out)
    assert [entry["id"] for entry in listed] == [2, 3, 4]
    unfinished, finished = [asked.query for asked in api.asked]
    assert unfinished == {"state": ["queued", "starting", "running"], "project": ["x"]}
    assert (sorted(finished["state"]), finished["limit"]) == (["cancelled", "expired", "failed", "succeeded"], ["10"])


def test_a_job_that_waits_at_a_checkpoint_is_suspended_whatever_it_waits_for(api: FakeApi, run: Run) -> None:
    """The plan's reason takes the place of the one with which it was suspended."""
    checkpointed, failed = run_of(outcome="checkpointed"), run_of(outcome="failed")
    api.get("/v1/jobs", [
        job(1, runs=[checkpointed]), job(2, runs=[checkpointed, failed]), job(3),
        job(4, runs=[checkpointed], held=True),
    ])  # fmt: skip
    assert [line.split()[1] for line in run("list", "--all").out.splitlines()[1:]] == [
        "suspended", "queued", "queued", "held",
    ]  # fmt: skip
    assert [row["id"] for row in json.loads(run("list", "--json", "--state", "suspended").out)] == [1]


def test_states_and_all_are_passed_on(api: FakeApi, run: Run) -> None:
    api.get("/v1/jobs", [])
    run("list", "--state", "failed", "--state", "expired", "--limit", "5", "--user", "ada")
    assert run("list", "--all").out == "no jobs\n"
    queries = [asked.query for asked in api.asked if asked.path == "/v1/jobs"]
    assert queries == [{"state": ["failed", "expired"], "limit": ["5"], "user": ["ada"]}, {}]


def test_a_list_in_a_pipe_is_plain_aligned_columns(api: FakeApi, run: Run) -> None:
    done = job(1, name="a[b]", state="succeeded", planned=None, runs=[run_of()])
    unknown = job(2, state="failed", planned=None, runs=[run_of(energy_j=None, emissions_g=None)])
    api.get("/v1/jobs", [done, unknown, job(13, held=True)])
    lines = run("list", "--all").out.splitlines()
    assert lines[0].split() == [
        "ID", "STATE", "NAME", "PROJECT", "USER", "GPUS", "WHEN", "(UTC)", "DURATION", "ENERGY", "CO2E", "WHY",
    ]  # fmt: skip
    assert lines[1].startswith(" 1  succeeded  a[b] ")
    assert "2 kWh    186 g" in lines[1]
    assert "unknown  unknown" in lines[2]
    assert (lines[3].split()[:2], "planned" in lines[3]) == (["13", "held"], True)


def test_on_a_terminal_the_list_is_a_table_that_honours_no_color(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.get("/v1/jobs", [job(1, name="a[red]b", state="running", runs=[run_of(ended_at=None, outcome=None)])])
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for name, value in (("NO_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "160")):
        monkeypatch.setenv(name, value)
    plain = run("list", "--all").out
    assert "a[red]b" in plain
    assert "\x1b[32m" not in plain


def test_a_running_job_with_an_anomaly_is_marked_and_one_whose_anomaly_is_over_is_not(api: FakeApi, run: Run) -> None:
    runs = [
        [
            run_of(
                ended_at=None, outcome=None, anomalies=[anomaly("stuck", until=None), anomaly("power_off", until=at())]
            )
        ],
        [run_of(ended_at=None, outcome=None, anomalies=[anomaly("stuck", until=at())])],
        [run_of(anomalies=[anomaly("gpu_idle", until=None)])],
    ]
    states = ("running", "running", "succeeded")
    rows = [job(1 + n, state=state, planned=None, runs=runs[n]) for n, state in enumerate(states)]
    api.get("/v1/jobs", rows)
    lines = run("list", "--all").out.splitlines()[1:]
    assert ["! stuck" in line for line in lines] == [True, False, False]
    assert [line for line in lines if "power_off" in line or "gpu_idle" in line] == []


def live_run(**changes: Any) -> dict[str, Any]:
    return run_of(ended_at=None, outcome=None, exit_code=None, **changes)


def of_every_kind() -> list[dict[str, Any]]:
    """Jobs in each state, with names that are long, wide, of many signs for a few columns, and hostile."""
    reason = lambda code, text: {"code": code, "text": text}  # noqa: E731
    return [
        job(1, name="a-name-that-is-much-longer-than-any-terminal-has-room-for-and-goes-on", state="succeeded",
            planned=None, reason=reason("succeeded", "finished with exit code 0"), runs=[run_of()]),
        job(12, name="漢字の仕事です、とても長い名前の仕事", state="running", planned=None, runs=[live_run()],
            reason=reason("running", "runs")),
        job(13, name="e\u0301" * 40, planned=planned(start=at(days=2), end=at(days=2, hours=6))),
        job(14, name="👍🏽🇩🇪 emoji", held=True, planned=None, reason=reason("held", "held by ada; `…` frees")),
        job(115, name="evil \x1b[2J\x9b31m\r\n\u202e name", state="cancelled", planned=None, runs=[]),
        job(116, name="sweep[3]", planned=None, reason=reason("array_full", "waits for its turn: at most 2 jobs")),
        job(117, state="failed", planned=None, runs=[run_of(exit_code=3, outcome="failed")],
            reason=reason("exit_code", "its command ended with exit code 3")),
        job(1118, interruptible=True, reason=reason("suspended", "suspended until 02:30: 93 g/kWh then")),
    ]  # fmt: skip


@pytest.mark.parametrize("width", [200, 160, 100, 80, 60, 40])
def test_at_any_width_no_state_and_no_time_is_cut(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    api.get("/v1/jobs", of_every_kind())
    monkeypatch.setenv("COLUMNS", str(width))
    out = run("list", "--all").out
    lines = out.splitlines()
    assert [line for line in lines if cell_width(line) > width] == []
    states = [line.split()[1] for line in lines[1:]]
    assert states == ["succeeded", "running", "queued", "held", "cancelled", "queued", "failed", "suspended"]
    for number in (1, 2, 3, 7, 8):
        assert re.search(r"\b\d\d:\d\d(?!…)\b", lines[number]), lines[number]
    assert ("…" in out) == (width < 200)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)


def test_columns_are_left_out_by_importance_and_empty_ones_first(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.get("/v1/jobs", [job(1)])
    heads = []
    for width in (130, 70, 60, 40):
        monkeypatch.setenv("COLUMNS", str(width))
        heads.append(run("list", "--all").out.splitlines()[0].replace(" (UTC)", "").split())
    assert heads == [
        ["ID", "STATE", "NAME", "PROJECT", "USER", "GPUS", "WHEN", "DURATION", "WHY"],
        ["ID", "STATE", "NAME", "GPUS", "WHEN", "DURATION", "WHY"],
        ["ID", "STATE", "NAME", "GPUS", "WHEN", "WHY"],
        ["ID", "STATE", "NAME", "WHEN"],
    ]


def test_why_says_what_is_waited_for_how_far_a_job_is_or_how_it_ended(api: FakeApi, run: Run) -> None:
    rows = [
        job(1, planned=planned()),
        job(2, planned=None, reason={"code": "waits_for", "text": "waits for job 7 to succeed and is planned"}),
        job(3, planned=None, reason={"code": "gpus_busy", "text": "waits for 2 GPUs, expected at 12:00"}),
        job(4, planned=None, reason={"code": "too_few_gpus", "text": "needs 9 GPUs and this machine has 2"}),
        job(5, planned=None, reason={"code": "some_new_one", "text": "waits for the moon; it is late"}),
        job(6, state="running", planned=None, duration_s=6 * 3600, runs=[live_run(started_at=at(minutes=-190.5))]),
        job(7, state="running", planned=None, duration_s=3600, runs=[live_run(started_at=at(minutes=-160.5))]),
        job(8, state="running", duration_s=10800, progress_s=3600, runs=[live_run(started_at=at(minutes=-30.5))]),
        job(9, state="failed", planned=None, reason={"code": "x", "text": "its command was ended by signal KILL"}),
        job(10, state="succeeded", planned=None, runs=[run_of()], reason={"code": "succeeded", "text": "finished"}),
    ]  # fmt: skip
    api.get("/v1/jobs", rows)
    lines = run("list", "--all", "--columns", "id,why").out.splitlines()
    assert [line[2:].strip() for line in lines[1:]] == [
        "41 % below now", "after job 7", "GPUs are busy", "needs 9 GPUs and this machine has 2", "waits for the moon",
        "52 %, 2h49m left", "1h40m overdue", "50 %, 1h29m left", "signal KILL", "",
    ]  # fmt: skip


def test_columns_and_order_are_the_users_and_what_is_not_known_comes_last(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [job(n, planned=None, state="failed", runs=[run_of(energy_j=j)]) for n, j in ((1, 5.0), (2, None), (3, 9.0))]
    api.get("/v1/jobs", rows)
    monkeypatch.setenv("COLUMNS", "20")  # what is asked for is shown
    out = run("list", "--all", "--columns", "energy, ID,state", "--sort", "-energy").out.splitlines()
    assert [line.split() for line in out] == [
        ["ENERGY", "ID", "STATE"],
        ["0.0025", "Wh", "3", "failed"],
        ["0.00139", "Wh", "1", "failed"],
        ["unknown", "2", "failed"],
    ]
    listed = json.loads(run("list", "--all", "--sort", "energy", "--json").out)
    assert [row["id"] for row in listed] == [1, 3, 2]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--columns", "id,colour", "--columns: 'colour' is not a column; there are id, state, name"),
        ("--columns", " , ", "--columns: names no column"),
        ("--sort", "-colour", "--sort: 'colour' is not a column"),
        ("--watch", "soon", "--watch: 'soon' is not a duration"),
    ],
)
def test_what_cannot_be_shown_is_refused(api: FakeApi, run: Run, option: str, value: str, said: str) -> None:
    ran = run("list", f"{option}={value}")
    assert (ran.code, said in ran.err, api.asked) == (2, True, [])


def test_times_are_local_and_their_zones_said_once(api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "<+0545>-5:45")
    time.tzset()
    api.get("/v1/jobs", [job(1, planned=planned(start="2031-03-01T20:00:00Z", end="2031-03-02T02:00:00Z"))])
    head, line = run("list", "--all").out.splitlines()
    assert "WHEN (+0545)" in head
    assert "planned 2031-03-02 01:45-07:45" in line


def test_in_a_pipe_watching_is_one_list(api: FakeApi, run: Run) -> None:
    api.get("/v1/jobs", [job(1)])
    assert len(run("list", "--all", "--watch").out.splitlines()) == 2


def test_who_watches_is_told_of_runs_that_no_list_of_jobs_has(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above the jobs, of which there may be more than fit."""
    pages: list[list[str]] = []

    def one_look(look: Callable[[], Any], draw: Callable[..., list[str]], every_s: float) -> None:
        pages.append(draw(live_screen.Look(seen=look()), 60, 8))

    monkeypatch.setattr(live_screen, "can_be_live", lambda: True)
    monkeypatch.setattr(live_screen, "show_live", one_look)
    api.get("/v1/jobs", [job(number) for number in range(1, 40)])
    stray = {"run": "12.1", "job": 12, "since": at(hours=-1), "devices": ["GPU-1"], "folder": "/runs/12.1", "log": None}
    api.get("/v1/stray-runs", [stray])
    assert run("list", "--watch").code == 0
    (page,) = pages
    assert " ".join(line.strip() for line in page[1:4]).startswith(
        "A run that is alive is in no database of this daemon (12.1), holding GPU-1: see `greenrun stray-runs`."
    )
    assert len(page) == 8
    assert "more" in page[-1]


def test_what_an_ascii_terminal_lacks_is_escaped_and_still_aligned(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.get("/v1/jobs", of_every_kind())
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("greenrun.cli.terminal.encoding._encoding", lambda: "ascii")
    lines = run("list", "--all").out.splitlines()
    assert [line for line in lines if not line.isascii() or len(line) > 80] == []
    assert [line.split()[1] for line in lines[1:3]] == ["succeeded", "running"]


def test_states_that_only_the_list_knows_can_be_asked_for(api: FakeApi, run: Run) -> None:
    rows = of_every_kind()
    api.answers["GET", "/v1/jobs"] = lambda asked: (200, [row for row in rows if row["state"] in asked.query["state"]])

    def listed(*states: str) -> list[int]:
        options = [word for state in states for word in ("--state", state)]
        return [row["id"] for row in json.loads(run("list", *options, "--json").out)]

    assert (listed("held"), listed("suspended"), listed("failed", "held")) == ([14], [1118], [14, 117])
    assert listed("queued") == listed("queued", "held") == [13, 14, 116, 1118]


def test_a_reason_that_names_a_hostile_file_is_shown_escaped(api: FakeApi, run: Run) -> None:
    evil = {"code": "failed_to_start", "text": "could not be started: \x1b[2J is not there"}
    api.get("/v1/jobs", [job(12, state="failed", planned=None, reason=evil)])
    api.get("/v1/jobs/12", job(12, state="failed", planned=None, reason=evil))
    for words in (("list", "--all"), ("show", "12"), ("wait", "12")):
        out = run(*words).out
        assert ("\x1b" in out, "could not be started" in out) == (False, True)


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_asked(api: FakeApi, run: Run) -> None:
    ran = run(
        "list", "--state", "done", "--columns", "id,foo,bar", "--sort", "-baz", "--limit", "0", "--watch", "often"
    )
    assert (ran.code, ran.err.splitlines()[0]) == (2, "error: these options are wrong")
    assert [line.split(";")[0].strip() for line in ran.err.splitlines()[1:]] == [
        "--state: 'done' is none of queued, starting, running, succeeded, failed, cancelled, expired, held, suspended",
        "--limit: '0' is not a whole number from 1 up",
        "--columns: 'foo', 'bar' are not columns",
        "--sort: 'baz' is not a column",
        "--watch: 'often' is not a duration",
    ]
    assert api.asked == []
