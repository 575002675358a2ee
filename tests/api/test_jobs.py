"""What the API tells of jobs, and who may change them."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from greenrun.core.energy.ledger import Total
from greenrun.core.energy.model import Quality
from greenrun.core.jobs.job import Anomaly, Outcome, State
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.jobs.runs.anomalies import AnomalyEpisode
from greenrun.core.planning.model import Plan, Waiting
from greenrun.executors.log_file import MARK
from tests.api.fakes import ADA, BOB, CLEANEST, HOUR, NOW, ROOT, RUN, World, forecast, placed, spec, stored


def test_a_run_carries_what_the_books_have_of_it_and_null_for_what_they_have_not(world: World) -> None:
    said = {"work": 1000.0, "work_unit": "samples", "work_at": NOW}
    ended = replace(
        RUN, ended_at=NOW, ran=timedelta(seconds=12), outcome=Outcome.SUCCEEDED, exit_code=0, log="/tmp/x", **said
    )
    episode = AnomalyEpisode(
        anomaly=Anomaly.STUCK, run_id=7, since=NOW - HOUR, until=NOW, text="it has reported no new work"
    )
    world.store.episodes[7] = [episode]
    world.store.keep(stored(1, State.SUCCEEDED))
    world.store.job_runs[1] = [ended, replace(RUN, id=8, number=2)]
    busy = {"utilization": 0.75, "utilization_coverage": 0.5}
    world.store.totals[7] = Total(energy_j=3.6e6, quality=Quality.MEASURED, emissions_g=200.0, location_g=190.0, **busy)
    first, second = world.ask("GET", "/v1/jobs/1").json()["runs"]
    assert first == {
        "id": 7,
        "number": 1,
        "started_at": "2026-03-02T11:00:00Z",
        "ended_at": "2026-03-02T12:00:00Z",
        "duration_s": 12.0,
        "outcome": "succeeded",
        "exit_code": 0,
        "devices": ["GPU-1"],
        "energy_j": 3.6e6,
        "energy_quality": "measured",
        "emissions_g": 200.0,
        "emissions_settled_g": None,
        "emissions_location_g": 190.0,
        "emissions_marginal_g": None,
        "baseline_emissions_g": None,
        "avoided_g": None,
        "gpu_utilization": 0.75,
        "gpu_utilization_coverage": 0.5,
        "image": None,
        "power_limit": None,
        "work": 1000.0,
        "work_unit": "samples",
        "work_at": "2026-03-02T12:00:00Z",
        "work_per_kwh": 1000.0,
        "energy_per_work_j": 3600.0,
        "anomalies": [
            {
                "anomaly": "stuck",
                "since": "2026-03-02T11:00:00Z",
                "until": "2026-03-02T12:00:00Z",
                "text": "it has reported no new work",
            }
        ],
        "log": "/tmp/x",
    }
    assert (second["energy_j"], second["energy_quality"], second["outcome"]) == (None, "unknown", None)
    assert (second["work"], second["energy_per_work_j"], second["anomalies"]) == (None, None, [])


def test_work_is_not_divided_by_an_energy_that_is_only_known_in_part(world: World) -> None:
    world.store.keep(stored(1, State.RUNNING))
    world.store.job_runs[1] = [replace(RUN, work=10.0, work_unit="steps")]
    world.store.totals[7] = Total(energy_j=3.6e6, quality=Quality.UNKNOWN)
    (run,) = world.ask("GET", "/v1/jobs/1").json()["runs"]
    assert (run["work"], run["work_per_kwh"], run["energy_per_work_j"]) == (10.0, None, None)


def test_a_job_that_is_stopped_on_an_anomaly_says_which_and_not_that_somebody_cancels_it(world: World) -> None:
    why = because(ReasonCode.ANOMALOUS, anomaly="stuck", why="it has reported no new work for 12m")
    world.store.keep(replace(stored(1, State.RUNNING, reason=why), cancel_requested=True))
    assert world.ask("GET", "/v1/jobs/1").json()["reason"] == {"code": "anomalous", "text": why.text}


def test_explain_tells_of_anomalies_and_on_which_the_job_is_stopped(world: World) -> None:
    world.store.keep(stored(1, State.RUNNING, stop_on=(Anomaly.GPU_IDLE, Anomaly.STUCK)))
    world.store.job_runs[1] = [RUN]
    over = AnomalyEpisode(anomaly=Anomaly.POWER_OFF, run_id=7, since=NOW - HOUR, until=NOW, text="it drew 90 W")
    world.store.episodes[7] = [
        over,
        AnomalyEpisode(anomaly=Anomaly.STUCK, run_id=7, since=NOW, text="it has reported no work"),
    ]
    told = world.ask("GET", "/v1/jobs/1/explain").json()["sentences"]
    assert told[-3:] == [
        "Run 1.1 had the anomaly power_off from 2026-03-02 11:00:00Z to 2026-03-02 12:00:00Z: it drew 90 W.",
        "Run 1.1 has the anomaly stuck since 2026-03-02 12:00:00Z: it has reported no work.",
        "It is stopped on gpu_idle or stuck, as its user asked.",
    ]


def test_a_number_that_is_nan_is_told_as_null(world: World) -> None:
    world.store.keep(stored(1))
    world.scheduler.latest = Plan(made_at=NOW, placements=(placed(1, expected_g=float("nan")),))
    assert world.ask("GET", "/v1/jobs/1").json()["planned"]["expected_g"] is None
    assert world.ask("GET", "/v1/plan").json()["placements"][0]["expected_g"] is None


def test_a_waiting_job_tells_the_plans_reason_and_another_its_own(world: World) -> None:
    old, held = because(ReasonCode.NO_FORECAST), because(ReasonCode.HELD, who="ada", job=2)
    world.store.keep(stored(1, reason=old), stored(2, reason=old), stored(3, State.FAILED, reason=old))
    world.scheduler.latest = Plan(
        made_at=NOW, placements=(placed(1),), waiting=(Waiting(job_id=2, reason=held), Waiting(job_id=3, reason=held))
    )
    rows = world.ask("GET", "/v1/jobs").json()
    assert [row["reason"]["code"] for row in rows] == ["cleanest_window", "held", "no_forecast"]
    assert [bool(row["planned"]) for row in rows] == [True, False, False]


def test_a_list_is_by_id_and_holds_the_latest_that_match(world: World) -> None:
    world.store.keep(
        stored(1), stored(2, State.FAILED), stored(3, project="x"), stored(4, user="bob"), stored(5, State.RUNNING)
    )
    ids = {
        query: [row["id"] for row in world.ask("GET", f"/v1/jobs{query}").json()]
        for query in ("", "?limit=2", "?state=failed&state=running", "?project=x", "?user=bob")
    }
    expected = {"": [1, 2, 3, 4, 5], "?limit=2": [4, 5], "?state=failed&state=running": [2, 5]}
    assert ids == {**expected, "?project=x": [3], "?user=bob": [4]}


@pytest.mark.parametrize("query", ["?limit=0", "?limit=10001", "?limit=x", "?state=nonsense"])
def test_a_query_out_of_bounds_is_refused(world: World, query: str) -> None:
    answer = world.ask("GET", f"/v1/jobs{query}")
    assert (answer.status_code, answer.json()["errors"][0]["field"].split("[")[0]) == (422, query[1:].split("=")[0])


@pytest.mark.parametrize("path", ["", "/explain", "/events", "/logs"])
def test_a_job_that_is_not_there_is_not_found(world: World, path: str) -> None:
    answer = world.ask("GET", f"/v1/jobs/9{path}")
    assert (answer.status_code, answer.json()["title"], answer.json()["detail"]) == (
        404,
        "job not found",
        "there is no job 9",
    )


@pytest.mark.parametrize("job_id", ["0", "-1", "x", str(2**63)])
def test_a_job_id_that_cannot_be_is_refused(world: World, job_id: str) -> None:
    assert world.ask("GET", f"/v1/jobs/{job_id}").status_code == 422


def test_explain_says_in_sentences_why_a_job_waits_and_until_when(world: World) -> None:
    world.store.keep(stored(1, name="nap", finish_by=NOW + 9 * HOUR, git_commit="abcdef0123456789"))
    world.scheduler.latest = Plan(made_at=NOW, placements=(placed(1),))
    world.store.saved = forecast()
    world.scheduler.turns = {1: "It has its turn in round 3."}
    told = world.ask("GET", "/v1/jobs/1/explain").json()
    assert told["sentences"] == [
        "Job 1 (nap) of ada is queued.",
        "Waits for the cleanest free window before its latest start: 93 g/kWh, 41 % below now.",
        "Planned from 2026-03-02 14:00:00Z to 2026-03-02 15:00:00Z at 93 g/kWh, expected 400 g CO2e"
        " (700 g if it started now).",
        "It must end by 2026-03-02 21:00:00Z.",
        "It may start from 2026-03-02 11:00:00Z and should start by 2026-03-02 20:00:00Z, by its own limits.",
        "Its priority is 0: jobs of a higher one go first, and it before those of a lower one.",
        "It has its turn in round 3.",
        "It is expected to run for 1h (as its user said).",
        "Its expected emissions take the nominal power of its GPUs, since its own is not known.",
        "It will run what it finds in / when it starts, which was at commit abcdef012345 when it was submitted.",
    ]
    assert {key: told[key] for key in ("job", "state", "reason", "duration_s", "earliest_start", "latest_start")} == {
        "job": 1,
        "state": "queued",
        "reason": {"code": "cleanest_window", "text": CLEANEST.text},
        "duration_s": 3600.0,
        "earliest_start": "2026-03-02T11:00:00Z",
        "latest_start": "2026-03-02T20:00:00Z",
    }


def test_explain_tells_the_runs_of_a_finished_job(world: World) -> None:
    world.store.keep(stored(1, State.FAILED, reason=because(ReasonCode.EXIT_CODE, code="exit code 3")))
    world.store.job_runs[1] = [replace(RUN, ended_at=NOW, outcome=Outcome.FAILED, exit_code=3)]
    sentences = world.ask("GET", "/v1/jobs/1/explain").json()["sentences"]
    assert sentences[1] == "Its command ended with exit code 3."
    assert sentences[-1] == (
        "Run 1.1 started 2026-03-02 11:00:00Z and ended 2026-03-02 12:00:00Z: failed with exit code 3."
    )


@pytest.mark.parametrize(
    ("verb", "field", "value"),
    [("cancel", "cancel_requested", True), ("hold", "held", True), ("start-now", "start_now", True)],
)
def test_an_intent_is_stored_under_the_callers_name_and_wakes_the_scheduler(
    world: World, verb: str, field: str, value: object
) -> None:
    world.store.keep(stored(1))
    answer = world.ask("POST", f"/v1/jobs/1/{verb}", who=ROOT)
    assert (answer.status_code, answer.json()[field], world.scheduler.wakes) == (200, value, 1)
    assert [event["actor"] for event in world.ask("GET", "/v1/jobs/1/events").json()] == ["root"]


def test_a_held_job_can_be_released(world: World) -> None:
    world.store.keep(stored(1, held=True))
    assert world.ask("POST", "/v1/jobs/1/release").json()["held"] is False


@pytest.mark.parametrize("verb", ["cancel", "hold", "release", "start-now"])
def test_what_the_jobs_state_forbids_is_a_conflict(world: World, verb: str) -> None:
    world.store.keep(stored(1, State.FAILED))
    answer = world.ask("POST", f"/v1/jobs/1/{verb}")
    assert (answer.status_code, answer.json()["title"]) == (409, "not possible in this state")
    assert answer.json()["detail"].startswith("job 1 has failed")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "cancel"), ("POST", "hold"), ("POST", "start-now"), ("GET", "logs")]
)
def test_a_stranger_may_look_at_a_job_but_not_touch_it(world: World, method: str, path: str) -> None:
    world.store.keep(stored(1))
    answer = world.ask(method, f"/v1/jobs/1/{path}", who=BOB)
    assert (answer.status_code, answer.json()["title"]) == (403, "not permitted")
    assert world.ask("GET", "/v1/jobs/1", who=BOB).status_code == 200
    assert (world.store.log, world.scheduler.wakes) == ([], 0)


def test_nobody_without_a_kernel_told_identity_is_served_a_job(world: World) -> None:
    headers = {"x-forwarded-for": ADA, "x-user": "root"}
    answers = [world.ask("GET", path, who="127.0.0.1", headers=headers) for path in ("/v1/jobs", "/v1/plan")]
    assert [answer.status_code for answer in answers] == [403, 403]


def test_the_daemons_own_user_may_touch_every_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 41002)
    world.store.keep(stored(1))
    assert world.ask("POST", "/v1/jobs/1/cancel", who=BOB).status_code == 200


def test_events_tell_who_did_what_when(world: World) -> None:
    world.store.keep(stored(1))
    world.ask("POST", "/v1/jobs/1/hold")
    (event,) = world.ask("GET", "/v1/jobs/1/events").json()
    told = {name: event[name] for name in ("id", "at", "actor", "kind", "job", "run", "detail")}
    assert told == {
        "id": 1,
        "at": "2026-03-02T12:00:00Z",
        "actor": "41001",
        "kind": "held",
        "job": 1,
        "run": None,
        "detail": {},
    }


class TestLogs:
    """The end of a run's log, and nothing else, is told."""

    def have(self, world: World, *logs: Path) -> None:
        """Give job 1 one run per log."""
        world.store.keep(stored(1, State.RUNNING))
        runs = [replace(RUN, id=number, number=number, log=str(log)) for number, log in enumerate(logs, start=1)]
        world.store.job_runs[1] = runs

    def test_the_latest_runs_end_is_told_in_as_many_bytes_as_asked(self, world: World, tmp_path: Path) -> None:
        (tmp_path / "1").write_text("first")
        (tmp_path / "2").write_bytes(b"second \xff run")
        self.have(world, tmp_path / "1", tmp_path / "2")
        asked = {query: world.ask("GET", f"/v1/jobs/1/logs{query}").content for query in ("", "?bytes=3", "?run=1")}
        assert asked == {"": b"second \xff run", "?bytes=3": b"run", "?run=1": b"first"}

    def test_the_end_of_a_log_goes_back_into_the_part_before(self, world: World, tmp_path: Path) -> None:
        latest = MARK + b" of 9 bytes\nnew\n"
        (tmp_path / "log.1").write_bytes(b"long ago\nold\n")
        (tmp_path / "log").write_bytes(latest)
        (tmp_path / "own").write_bytes(b"mine\n")
        (tmp_path / "own.1").write_bytes(b"of somebody else\n")
        self.have(world, tmp_path / "own", tmp_path / "log")
        queries = ("", "?bytes=4", f"?bytes={len(latest) + 4}", "?run=1")
        asked = [world.ask("GET", f"/v1/jobs/1/logs{query}").content for query in queries]
        assert asked == [b"long ago\nold\n" + latest, b"new\n", b"old\n" + latest, b"mine\n"]
        (tmp_path / "log.1").unlink()
        assert world.ask("GET", "/v1/jobs/1/logs").content == latest

    def test_a_job_that_has_not_run_has_no_log(self, world: World) -> None:
        world.store.keep(stored(1))
        answer = world.ask("GET", "/v1/jobs/1/logs")
        assert (answer.status_code, answer.json()["detail"]) == (404, "Job 1 is queued and has no such log yet.")

    def test_a_link_is_not_followed(self, world: World, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("secret")
        (tmp_path / "log").symlink_to(tmp_path / "secret")
        self.have(world, tmp_path / "log")
        answer = world.ask("GET", "/v1/jobs/1/logs")
        assert (answer.status_code, "secret\n" in answer.text) == (503, False)

    @pytest.mark.parametrize("path", ["/proc/self/maps", "/proc/self/mountinfo", "/proc/self/root/proc/self/limits"])
    def test_what_the_kernel_tells_of_the_daemon_itself_is_not_read(self, world: World, path: str) -> None:
        """The path of a log is what its user wrote into the records of the run."""
        self.have(world, Path(path))
        answer = world.ask("GET", "/v1/jobs/1/logs")
        assert (answer.status_code, answer.content) == (200, b"")

    def test_what_is_no_plain_file_is_not_read(self, world: World, tmp_path: Path) -> None:
        self.have(world, tmp_path)
        assert world.ask("GET", "/v1/jobs/1/logs").status_code == 503

    def test_a_log_that_is_gone_is_not_found(self, world: World, tmp_path: Path) -> None:
        self.have(world, tmp_path / "gone")
        assert world.ask("GET", "/v1/jobs/1/logs").status_code == 404


def test_durations_and_limits_are_told_in_seconds(world: World) -> None:
    world.store.keep(stored(1, max_delay=timedelta(minutes=1), time_limit=2 * HOUR))
    job = world.ask("GET", "/v1/jobs/1").json()
    assert (job["duration_s"], job["max_delay_s"], job["time_limit_s"]) == (3600.0, 60.0, 7200.0)
    assert job["command"] == list(spec().command)


def test_a_job_that_pauses_waits_for_that_whatever_the_plan_says(world: World) -> None:
    pause = Reason(ReasonCode.RETRY_PAUSE, "run 1 failed; it is tried again in an hour")
    world.store.keep(replace(stored(1), retry_at=NOW + HOUR, reason=pause))
    for made_at, start, code in (
        (NOW, NOW, "retry_pause"),  # made before the run failed
        (NOW, NOW + HOUR, "retry_pause"),
        (NOW + HOUR, NOW + HOUR, CLEANEST.code),
    ):
        world.scheduler.latest = Plan(made_at=made_at, placements=(placed(1, start=start),))
        told = world.ask("GET", "/v1/jobs/1").json()
        assert (told["reason"]["code"], told["planned"] is None) == (code, start < NOW + HOUR)


def test_a_job_that_is_put_off_for_want_of_something_of_the_host_has_no_place_that_has_passed(world: World) -> None:
    """One for later keeps it: by then there may be room again."""
    short = because(ReasonCode.HOST_SHORT, what="open files", at="2026-03-02 12:00:05Z")
    world.store.keep(stored(1, reason=short), stored(2, reason=short))
    places = (placed(1, start=NOW), placed(2, start=NOW + HOUR))
    world.scheduler.latest = Plan(made_at=NOW, placements=places)
    rows = world.ask("GET", "/v1/jobs").json()
    assert [(row["reason"]["code"], bool(row["planned"])) for row in rows] == [
        ("host_short", False),
        ("host_short", True),
    ]
