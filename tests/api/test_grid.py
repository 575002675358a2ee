"""What the API tells of the plan, the forecast, the devices, the books and itself."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from greenrun.api.app import create_tcp_app
from greenrun.core.carbon.fallback import ActiveForecast, StalenessRules
from greenrun.core.carbon.intensity import FallbackLevel, Forecast, Kind, SeriesId
from greenrun.core.conditions import Condition, ConditionCode, Effect
from greenrun.core.energy.ledger import Entry, Priced
from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.core.formatting import iso_text
from greenrun.core.jobs.job import Run
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.planning.model import Plan, Waiting
from greenrun.core.planning.power_cap.planned_power import PlannedPower
from greenrun.core.planning.power_cap.site_power import SitePowerState
from greenrun.metrics import Health
from tests.api.fakes import CLEANEST, HOUR, NOW, World, forecast, placed, stored

ONLY_GB = "This daemon knows the zone GB only, not FR; to have more zones watched, name them in [grid] also."


def test_the_plan_tells_its_sums_its_placements_and_who_waits(world: World) -> None:
    why = because(ReasonCode.TOO_FEW_GPUS, gpus=4, have=1)
    world.store.keep(stored(1), stored(2))
    world.scheduler.latest = Plan(
        made_at=NOW,
        horizon_end=NOW + 48 * HOUR,
        placements=(placed(1),),
        waiting=(Waiting(job_id=2, reason=why),),
        expected_g=400.0,
        earliest_start_g=450.0,
        bound_g=320.0,
    )
    assert world.ask("GET", "/v1/plan").json() == {
        "made_at": "2026-03-02T12:00:00Z",
        "horizon_end": "2026-03-04T12:00:00Z",
        "gap_ratio": 0.25,
        "bound_g": 320.0,
        "expected_g": 400.0,
        "start_at_once_g": None,
        "earliest_start_g": 450.0,
        "placements": [
            {
                "job": 1,
                "start": "2026-03-02T14:00:00Z",
                "end": "2026-03-02T15:00:00Z",
                "gpus": 1,
                "late": False,
                "g_per_kwh": 93.0,
                "start_now_g_per_kwh": None,
                "expected_g": 400.0,
                "start_now_g": 700.0,
                "signal": None,
                "pieces": [],
                "promised": {"start": "2026-03-02T13:00:00Z", "end": "2026-03-02T14:00:00Z"},
                "put_offs": 2,
                "reason": {"code": "cleanest_window", "text": CLEANEST.text},
            }
        ],
        "waiting": [{"job": 2, "reason": {"code": "too_few_gpus", "text": why.text}}],
        "others": [],
        "others_waiting": 0,
        "site_power": None,
    }


def test_the_plan_tells_of_the_site_s_power_cap_where_there_is_one(world: World) -> None:
    row = PlannedPower(start=NOW, end=NOW + HOUR, cap_w=3000.0, planned_w=2900.0)
    state = SitePowerState(has_cap=True, cap_w=3000.0, expected_w=2900.0)
    world.scheduler.power = state, [row, replace(row, start=row.end, end=NOW + 2 * HOUR, cap_w=None)]
    assert world.ask("GET", "/v1/plan").json()["site_power"] == {
        "cap_w": 3000.0,
        "expected_w": 2900.0,
        "measured_w": None,
        "above_since": None,
        "planned": [
            {"start": "2026-03-02T12:00:00Z", "end": "2026-03-02T13:00:00Z", "cap_w": 3000.0, "planned_w": 2900.0},
            {"start": "2026-03-02T13:00:00Z", "end": "2026-03-02T14:00:00Z", "cap_w": None, "planned_w": 2900.0},
        ],
    }


def test_a_forecast_is_told_with_its_source_and_its_slots(world: World) -> None:
    world.store.saved = forecast()
    told = world.ask("GET", "/v1/forecast?zone=GB").json()
    slots = told.pop("slots")
    assert told == {
        "zone": "GB",
        "provider": "test",
        "signal": "average",
        "accounting": None,
        "basis": "lifecycle",
        "issued_at": None,
        "fetched_at": "2026-03-02T12:00:00Z",
        "step_s": 1800.0,
        "rung": "fresh",
        "age_s": 0.0,
        "why": "test said so just now",
    }
    assert slots[0] == {
        "start": "2026-03-02T12:00:00Z",
        "end": "2026-03-02T12:30:00Z",
        "g_per_kwh": 200.0,
        "kind": "forecast",
    }


@pytest.mark.parametrize(("query", "count"), [("", 3), ("?hours=0.5", 1), ("?hours=0.6", 2), ("?hours=100", 3)])
def test_a_forecast_is_cut_to_the_hours_asked_for(world: World, query: str, count: int) -> None:
    world.store.saved = forecast()
    assert len(world.ask("GET", f"/v1/forecast{query}").json()["slots"]) == count


def test_without_a_forecast_everything_of_it_is_null(world: World) -> None:
    told = world.ask("GET", "/v1/forecast").json()
    assert (told.pop("zone"), told.pop("rung"), told.pop("slots")) == ("GB", "none", [])
    assert "no provider has said anything" in told.pop("why")
    assert set(told.values()) == {None}


def test_without_a_zone_there_is_no_forecast_and_its_zone_is_null() -> None:
    world = World(zone=None)
    told = world.ask("GET", "/v1/forecast").json()
    refused = world.ask("GET", "/v1/forecast?zone=FR")
    assert (told["zone"], told["rung"], told["slots"]) == (None, "none", [])
    sentence = "No zone is set, so there is no forecast for FR or any other: set [grid] zone."
    assert (refused.status_code, refused.json()["detail"]) == (404, sentence)


def test_another_zone_is_not_found_and_the_known_one_named(world: World) -> None:
    answer = world.ask("GET", "/v1/forecast?zone=FR")
    assert (answer.status_code, answer.json()["detail"]) == (404, ONLY_GB)


def test_a_forecast_tells_how_far_down_the_ladder_it_stands_how_old_it_is_and_why(world: World) -> None:
    world.scheduler.staleness = StalenessRules(stale_after=2 * HOUR)
    world.store.saved = forecast(fetched_at=NOW - 3 * HOUR)
    told = world.ask("GET", "/v1/forecast").json()
    why = "nobody says anything newer than test did 3h ago"
    assert (told["rung"], told["age_s"], told["why"]) == ("stale", 10_800.0, why)
    world.scheduler.staleness = StalenessRules()
    assert world.ask("GET", "/v1/forecast").json()["rung"] == "fresh"


def test_a_zone_that_is_watched_besides_is_told_like_the_host_s_own() -> None:
    world = World(also=("DE",))
    other = replace(forecast([5.0]).series, id=SeriesId(provider="mean", zone="DE"))
    yearly = Forecast(series=other, fetched_at=NOW, fallback_level=FallbackLevel.STATIC)
    world.scheduler.watched = {
        "DE": ActiveForecast(fallback_level=FallbackLevel.STATIC, why="so it is", forecast=yearly)
    }
    told = world.ask("GET", "/v1/forecast?zone=DE").json()
    assert (told["zone"], told["provider"], told["rung"], told["age_s"]) == ("DE", "mean", "static", None)
    answer = world.ask("GET", "/v1/forecast?zone=FR")
    assert "knows the zones GB, DE only, not FR" in answer.json()["detail"]


def test_an_explanation_says_what_the_plan_goes_by_unless_it_is_a_fresh_forecast(world: World) -> None:
    world.store.keep(stored(1))

    def said() -> list[str]:
        lines: list[str] = world.ask("GET", "/v1/jobs/1/explain").json()["sentences"]
        return [line for line in lines if "forecast" in line]

    assert said() == ["There is no forecast to plan with: no provider has said anything of the hours to come and too"
                      " little was measured, so jobs start as soon as GPUs are free."]  # fmt: skip
    world.store.saved = forecast(fetched_at=NOW - 3 * HOUR)
    assert said() == []
    world.scheduler.staleness = StalenessRules(stale_after=2 * HOUR)
    assert said() == ["The plan goes by a stale forecast: nobody says anything newer than test did 3h ago."]


def test_devices_tell_who_has_them_and_that_they_are_emulated(world: World) -> None:
    world.store.job_runs[3] = [
        Run(id=9, job_id=3, number=2, token="t", devices=("GPU-1",), claimed_at=NOW, started_at=NOW)
    ]
    world.scheduler.elsewhere = {"cpu-0": "another daemon (pid 4)"}
    gpu, cpu = world.ask("GET", "/v1/devices").json()
    assert gpu == {
        "id": "GPU-1",
        "index": 0,
        "model": "Emulated GPU",
        "kind": "gpu",
        "source": "emulated",
        "emulated": True,
        "memory_bytes": 1 << 30,
        "name": "0",
        "part_of": None,
        "is_divided": False,
        "leased": True,
        "leased_by_job": 3,
        "leased_by_run": "3.2",
        "held_elsewhere": None,
        "available": True,
        "unavailable": [],
        "processes": None,
        "reserved_next": None,
        "idle_power_w": 55.5,
        "power_w": 301.5,
    }
    assert (cpu["leased_by_run"], cpu["held_elsewhere"]) == (None, "another daemon (pid 4)")


def test_the_ledger_tells_its_slices_booked_and_settled(world: World) -> None:
    piece = Slice(
        device="GPU-1",
        component=Component.GPU,
        run_id=9,
        start=NOW - HOUR,
        end=NOW,
        energy_j=3.6e6,
        quality=Quality.MEASURED,
    )
    booked = Priced(
        intensity_g_per_kwh=200.0, emissions_g=240.0, kind=Kind.FORECAST, series=SeriesId(provider="uk", zone="GB")
    )
    entry = Entry(slice=piece, pue=1.2, booked=booked, id=1, job_id=3, project="p")
    world.store.keep(stored(3), stored(4))
    world.store.booked = [entry, replace(entry, id=2, job_id=4, settled=replace(booked, kind=Kind.MEASURED))]
    first, second = world.ask("GET", "/v1/ledger").json()
    assert first == {
        "id": 1,
        "job": 3,
        "run": 9,
        "project": "p",
        "device": "GPU-1",
        "component": "gpu",
        "start": "2026-03-02T11:00:00Z",
        "end": "2026-03-02T12:00:00Z",
        "energy_j": 3.6e6,
        "quality": "measured",
        "share": 1.0,
        "busy_s": None,
        "pue": 1.2,
        "booked": {"g_per_kwh": 200.0, "emissions_g": 240.0, "kind": "forecast", "provider": "uk"},
        "settled": None,
    }
    assert second["settled"]["kind"] == "measured"
    assert [row["id"] for row in world.ask("GET", "/v1/ledger?job=4").json()] == [2]


@pytest.mark.parametrize(
    ("health", "status", "reasons"),
    [
        (Health(started_at=NOW - HOUR, last_tick_at=NOW, last_sample_at=NOW), 200, []),
        (Health(started_at=NOW), 200, []),
        (
            Health(started_at=NOW - HOUR),
            503,
            ["the last tick is older than 60 s", "the last meter sample is older than 60 s"],
        ),
        (  # the clock was set back
            Health(started_at=NOW, last_tick_at=NOW + HOUR, last_sample_at=NOW),
            503,
            ["the last tick is older than 60 s"],
        ),
        (
            Health(started_at=NOW - HOUR, last_tick_at=NOW - HOUR, last_sample_at=NOW - HOUR),
            503,
            ["the last tick is older than 60 s", "the last meter sample is older than 60 s"],
        ),
    ],
)
def test_health_is_whether_the_daemon_still_works(
    world: World, health: Health, status: int, reasons: list[str]
) -> None:
    world.scheduler.lives = health
    answer = world.ask("GET", "/healthz", who="127.0.0.1")
    assert (answer.status_code, answer.json()["reasons"]) == (status, reasons)


@pytest.mark.parametrize(
    ("health", "status"),
    [
        (Health(started_at=NOW, last_tick_at=NOW), 200),
        (Health(started_at=NOW), 503),
        (Health(started_at=NOW, last_tick_at=NOW, draining=True), 503),
    ],
)
def test_ready_is_whether_the_daemon_starts_jobs(world: World, health: Health, status: int) -> None:
    world.scheduler.lives = health
    assert world.ask("GET", "/readyz").status_code == status


@pytest.mark.parametrize(
    ("effect", "statuses"), [(Effect.FAILING, (503, 503)), (Effect.NOT_READY, (200, 503)), (Effect.WARNING, (200, 200))]
)
def test_what_the_daemon_noticed_is_told_with_its_remedy_and_fails_the_checks_it_means(
    world: World, effect: Effect, statuses: tuple[int, int]
) -> None:
    condition = Condition(code=ConditionCode.DISK_FULL, effect=effect, text="full", remedy="free some", since=NOW)
    world.scheduler.wrong = [condition]
    answers = [world.ask("GET", path, who="127.0.0.1") for path in ("/healthz", "/readyz")]
    told = {"code": "disk_full", "effect": effect.value, "text": "full", "remedy": "free some", "since": iso_text(NOW)}
    assert tuple(answer.status_code for answer in answers) == statuses
    assert [answer.json()["conditions"] for answer in answers] == [[told], [told]]
    assert [answer.json()["reasons"] for answer in answers] == [["full"] * (code == 503) for code in statuses]


def test_metrics_are_text_or_openmetrics_as_asked(world: World) -> None:
    plain = world.ask("GET", "/metrics")
    openmetrics = world.ask("GET", "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert openmetrics.text.endswith("# EOF\n")


def test_over_tcp_metrics_and_health_are_for_anybody_and_the_api_is_not(world: World) -> None:
    app = create_tcp_app(world.store, world.scheduler, world.settings, world.metrics, now=lambda: NOW)
    paths = ("/metrics", "/healthz", "/readyz", "/v1/jobs", "/v1/plan", "/openapi.json", "/docs", "/")
    local = {"host": "localhost:9753"}
    answers = [world.ask("GET", path, app=app, who="127.0.0.1", headers=local).status_code for path in paths]
    assert answers == [200, 200, 200, 401, 401, 200, 200, 404]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("DELETE", "/v1/jobs", 405)])
def test_what_is_not_there_is_a_problem_document_too(world: World, method: str, path: str, status: int) -> None:
    answer = world.ask(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert path in answer.json()["detail"]


def test_a_fault_of_greenruns_own_tells_nothing_of_its_inside(world: World) -> None:
    world.store.fault = RuntimeError("a secret")
    with capture_logs() as logged:
        answer = world.ask("GET", "/v1/jobs/1")
    assert [line["event"] for line in logged if line["log_level"] == "error"] == ["request failed"]
    assert (answer.status_code, "secret" in answer.text, answer.json()["title"]) == (500, False, "internal error")


def test_openapi_names_every_path_of_the_interface(world: World) -> None:
    paths = world.ask("GET", "/openapi.json").json()["paths"]
    jobs = {
        f"/v1/jobs/{{job_id}}{rest}" for rest in ("", "/explain", "/events", "/logs", "/cancel", "/hold", "/release")
    }
    orders = {f"/v1/jobs/{order}" for order in ("cancel", "hold", "release", "start-now", "edit", "requeue")}
    others = {
        "/v1/stray-runs",
        "/v1/stray-runs/{run}/end",
        "/v1/jobs",
        "/v1/events",
        "/v1/jobs/{job_id}/edit",
        "/v1/jobs/{job_id}/requeue",
        "/v1/jobs/{job_id}/start-now",
        "/v1/plan",
        "/v1/forecast",
        "/v1/devices",
        "/v1/ledger",
    }
    others |= {"/v1/budgets", "/v1/jobs/approve", "/v1/reservations", "/v1/reservations/{number}/end"}
    others |= {"/v1/drains", "/v1/drain", "/v1/resume", "/v1/jobs/select", "/v1/caller", "/v1/tickets"}
    others |= {f"/v1/{kind}{rest}" for kind in ("sessions", "tokens") for rest in ("", "/{number}/revoke")}
    others |= {"/v1/providers", "/v1/history/import", "/v1/history/fetch", "/v1/forecast/quality", "/v1/reports"}
    assert set(paths) == jobs | orders | others | {"/healthz", "/readyz", "/metrics"}
