"""What a scrape says: persisted totals exactly, every label set from zero, and nothing for what is not known."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from greenrun.core.carbon.fallback import ActiveForecast, StalenessRules
from greenrun.core.carbon.intensity import FallbackLevel, Signal
from greenrun.core.conditions import Condition, ConditionCode, Effect
from greenrun.core.energy.ledger import Total
from greenrun.core.energy.model import MeterHealth
from greenrun.core.errors import StoreError
from greenrun.core.histogram import FORECAST_ERROR, PLAN_DURATION, REQUEST_DURATION, Histogram, added
from greenrun.core.jobs.availability import GpuState, Occupant
from greenrun.core.jobs.job import Anomaly, Outcome, Run, State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.planning.model import Plan, Waiting
from greenrun.metrics import LINGER, MAX_PROJECTS, MAX_RUNNING_JOBS, TOTALS, Health, MetricsCollector, registry_of
from greenrun.metrics.devices import MAX_USERS
from greenrun.metrics.live import plan_metrics
from tests.api.fakes import (
    CPU,
    GPU,
    HOUR,
    NOW,
    FakeScheduler,
    FakeStore,
    World,
    forecast,
    judged,
    live_state,
    placed,
    stored,
)
from tests.metrics.scrape import SETTLED, Scrape, busy, families
from tests.patience import HANGS_S

KINDS = ("gpu", "cpu_package", "dram")


@pytest.fixture
def scrape() -> Scrape:
    """A collector over an empty store."""
    return Scrape()


@pytest.mark.parametrize("total_g", [0.1 + 0.2, 1 / 3, 12_345_678.900000001, 1e16 + 2, 5e-324, 1e22])
def test_the_settled_total_is_exported_as_the_very_float_that_is_stored(scrape: Scrape, total_g: float) -> None:
    scrape.count(SETTLED, total_g, project="default")
    line = next(row for row in generate_latest(scrape.registry).decode().splitlines() if row.startswith(SETTLED))
    assert float(line.split()[-1]) == total_g


def test_totals_go_on_from_what_is_persisted(scrape: Scrape) -> None:
    scrape.count("greenrun_energy_joules_total", 5.0, component="gpu", quality="bridged")
    scrape.count("greenrun_jobs_finished_total", 3.0, outcome="failed")
    assert scrape.value("greenrun_energy_joules_total", component="gpu", quality="bridged") == 5.0
    assert scrape.value("greenrun_jobs_finished_total", outcome="failed") == 3.0


def test_each_rule_about_anomalies_is_told_from_zero_on(scrape: Scrape) -> None:
    scrape.count("greenrun_anomalies_total", 2.0, rule="stuck")
    state = replace(live_state(scrape.store, scrape.scheduler), anomalous=lambda: {Anomaly.STUCK: 1})
    scrape.registry = registry_of(MetricsCollector(scrape.store, state))
    for name, told in (("greenrun_anomalies_total", 2.0), ("greenrun_jobs_anomalous", 1.0)):
        values = {rule.value: scrape.value(name, rule=rule.value) for rule in Anomaly}
        assert values == {"gpu_idle": 0.0, "power_off": 0.0, "stuck": told}


def test_known_label_sets_begin_at_zero(scrape: Scrape) -> None:
    zeros = {
        "greenrun_emissions_grams_total": {"project": "default"},
        SETTLED: {"project": "default"},
        "greenrun_jobs_submitted_total": {},
        "greenrun_deadlines_missed_total": {},
        "greenrun_unattributed_energy_joules_total": {"component": "gpu"},
        "greenrun_energy_gap_seconds_total": {"component": "gpu"},
    }
    assert [scrape.value(name, **labels) for name, labels in zeros.items()] == [0.0] * len(zeros)
    outcomes = {row["outcome"] for row in scrape.labels("greenrun_jobs_finished_total")}
    assert outcomes == {*Outcome, State.EXPIRED} - {Outcome.CHECKPOINTED}
    assert {row["state"] for row in scrape.labels("greenrun_jobs")} == set(State)


def test_what_is_not_known_is_absent(scrape: Scrape) -> None:
    scrape.scheduler.lives, scrape.scheduler.zone = Health(started_at=NOW), None
    scrape.scheduler.readable = MeterHealth()
    text = generate_latest(scrape.registry).decode()
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    unknown = (
        "greenrun_grid",
        "greenrun_scheduler",
        "greenrun_sampler_l",
        "greenrun_plan_gap",
        "greenrun_running_job_e",
        "greenrun_marginal",
        "greenrun_external",
    )
    assert [line for line in samples if line.startswith(unknown)] == []
    assert "NaN" not in text


def test_of_two_thousand_users_of_a_gpu_eight_are_named_and_nothing_is_lost(scrape: Scrape) -> None:
    many = tuple(Occupant(pid=pid, user=f"user{pid:04}", memory_bytes=10) for pid in range(2000))
    scrape.scheduler.of_gpu = GpuState(occupants=many)
    for name, whole in (("greenrun_gpu_others_processes", 2000.0), ("greenrun_gpu_others_memory_bytes", 20_000.0)):
        told = scrape.labels(name)
        assert len(told) == MAX_USERS + 1
        assert sum(scrape.value(name, **labels) or 0.0 for labels in told) == whole
        assert scrape.value(name, **{**told[0], "user": "other"}) == whole * (1 - MAX_USERS / 2000)


def test_projects_beyond_the_bound_are_summed_as_other_and_the_known_ones_stay(scrape: Scrape) -> None:
    for number in range(MAX_PROJECTS + 9):
        scrape.count(SETTLED, 1.0, project=f"p{number:03}")
    assert len(scrape.labels(SETTLED)) == MAX_PROJECTS + 1
    assert scrape.value(SETTLED, project="other") == 10.0
    before = scrape.labels(SETTLED)
    scrape.count(SETTLED, 1.0, project="a-new-one")
    assert scrape.labels(SETTLED) == before
    assert scrape.value(SETTLED, project="other") == 11.0


def test_jobs_are_counted_by_state_and_waiting_ones_by_why(scrape: Scrape) -> None:
    scrape.store.keep(stored(1), stored(2), stored(3, reason=because(ReasonCode.NO_FORECAST)), stored(4, State.RUNNING))
    waiting = Waiting(job_id=2, reason=because(ReasonCode.CANCEL_REQUESTED))
    scrape.scheduler.latest = Plan(made_at=NOW, placements=(placed(1),), waiting=(waiting,))
    assert [scrape.value("greenrun_jobs", state=state) for state in ("queued", "running", "failed")] == [3, 1, 0]
    codes = ("cleanest_window", "cancel_requested", "no_forecast")
    assert [scrape.value("greenrun_jobs_waiting", reason=code) for code in codes] == [1, 1, None]


def test_finished_jobs_are_counted_anew_when_one_more_has_finished(scrape: Scrape) -> None:
    scrape.store.keep(stored(1, State.FAILED))
    assert scrape.value("greenrun_jobs", state="failed") == 1
    scrape.store.keep(stored(2, State.FAILED))
    scrape.count("greenrun_jobs_finished_total", 2.0, outcome="failed")
    assert scrape.value("greenrun_jobs", state="failed") == 2


def test_a_running_job_is_shown_with_its_energy_and_for_some_minutes_after(scrape: Scrape) -> None:
    scrape.run_job(1, energy_j=10.0, emissions_g=None)
    assert scrape.labels("greenrun_running_job_info") == [
        {"job_id": "1", "job_name": "job 1", "project": "default", "user": "ada"}
    ]
    assert scrape.value("greenrun_running_job_energy_joules", job_id="1") == 10.0
    assert scrape.value("greenrun_running_job_emissions_grams", job_id="1") is None
    scrape.run_job(1, State.SUCCEEDED, energy_j=12.0, emissions_g=3.0)
    scrape.now = NOW + LINGER
    assert scrape.value("greenrun_running_job_energy_joules", job_id="1") == 12.0
    scrape.now += timedelta(seconds=1)
    assert scrape.labels("greenrun_running_job_info") == []


def test_running_jobs_beyond_the_bound_are_counted_as_dropped(scrape: Scrape) -> None:
    for number in range(1, MAX_RUNNING_JOBS + 4):
        scrape.run_job(number)
    assert len(scrape.labels("greenrun_running_job_info")) == MAX_RUNNING_JOBS
    assert scrape.value("greenrun_running_job_series_dropped") == 3


def test_gpus_are_told_with_their_source_and_their_lease(scrape: Scrape) -> None:
    assert scrape.labels("greenrun_gpu_info") == [
        {
            "gpu": "0", "gpu_uuid": GPU.id, "model": GPU.model, "vendor": "unknown", "energy_source": "emulated",
            "mig": "false",
        }
    ]  # fmt: skip
    assert (
        scrape.value("greenrun_gpu_leased", gpu_uuid=GPU.id),
        CPU.id in str(scrape.labels("greenrun_gpu_leased")),
    ) == (
        0.0,
        False,
    )
    scrape.run_job(1)
    assert scrape.value("greenrun_gpu_leased", gpu_uuid=GPU.id) == 1.0


def test_the_grid_is_told_as_it_is_and_as_far_ahead_as_it_is_forecast(scrape: Scrape) -> None:
    scrape.store.saved = forecast([float(value) for value in range(100, 130)])
    intensity = "greenrun_grid_carbon_intensity_grams_per_kwh"
    assert scrape.value(intensity, grid_zone="GB", signal="average_lifecycle") == 100.0
    signal = "average_lifecycle"
    ahead = [
        scrape.value("greenrun_grid_forecast_intensity_grams_per_kwh", grid_zone="GB", horizon=hours, signal=signal)
        for hours in ("1h", "6h", "12h", "24h")
    ]
    assert ahead == [102.0, 112.0, 124.0, None]
    origin = {"provider": "test", "grid_zone": "GB"}
    assert scrape.value("greenrun_grid_forecast_horizon_seconds", **origin) == 15 * 3600
    assert scrape.value("greenrun_grid_forecast_last_success_timestamp_seconds", **origin) == NOW.timestamp()
    assert scrape.value("greenrun_grid_forecast_age_seconds", **origin) == 0.0
    scrape.store.saved = replace(scrape.store.saved, issued_at=NOW - timedelta(hours=3))
    assert scrape.value("greenrun_grid_forecast_age_seconds", **origin) == 3 * 3600


def test_the_rung_of_each_zone_is_one_of_all(scrape: Scrape) -> None:
    scrape.store.saved = forecast(fetched_at=NOW - 3 * HOUR)
    scrape.scheduler.staleness = StalenessRules(stale_after=2 * HOUR)
    scrape.scheduler.watched = {"DE": ActiveForecast()}
    told = {
        zone: [rung for rung in FallbackLevel if scrape.value("greenrun_grid_rung", grid_zone=zone, rung=rung) == 1.0]
        for zone in ("GB", "DE")
    }
    assert told == {"GB": [FallbackLevel.STALE], "DE": [FallbackLevel.NONE]}
    assert len(scrape.labels("greenrun_grid_rung")) == 2 * len(FallbackLevel)


def test_what_sources_were_asked_and_gave_for_nothing_is_told_by_cause() -> None:
    told = {("uk", "absurd"): 3, ("uk", "missing"): 1}
    state = replace(
        live_state(FakeStore(), FakeScheduler()), requests=lambda: {"uk": 7}, dropped=lambda: told,
        failures=lambda: {("uk", "ProviderGarbage"): 2}, quota_left=lambda: {"uk": 40},
    )  # fmt: skip
    registry = registry_of(MetricsCollector(FakeStore(), state))
    dropped = {row: registry.get_sample_value("greenrun_grid_values_dropped_total", _labels(*row)) for row in told}
    garbage = _labels("uk", "ProviderGarbage")
    assert dropped == told
    assert registry.get_sample_value("greenrun_grid_requests_total", {"provider": "uk"}) == 7
    assert registry.get_sample_value("greenrun_grid_request_failures_total", garbage) == 2
    assert registry.get_sample_value("greenrun_grid_quota_left", {"provider": "uk"}) == 40


def _labels(provider: str, cause: str) -> dict[str, str]:
    return {"provider": provider, "cause": cause}


def test_liveness_and_the_plans_gap_are_told_once_known(scrape: Scrape) -> None:
    busy(scrape)
    assert scrape.value("greenrun_scheduler_last_tick_timestamp_seconds") == NOW.timestamp()
    assert scrape.value("greenrun_sampler_last_sample_timestamp_seconds") == NOW.timestamp()
    assert scrape.value("greenrun_plan_gap_ratio") == pytest.approx(0.1)
    assert scrape.value("greenrun_plan_bound_grams") == 100.0
    assert scrape.value("greenrun_plan_changes_total") == 0.0
    assert scrape.value("greenrun_put_offs_total") == 0.0
    assert scrape.value("greenrun_pue_ratio") == 1.0


def test_every_family_has_a_help_text_and_no_label_clashes_with_a_targets(scrape: Scrape) -> None:
    families = list(busy(scrape).registry.collect())
    clashes = {"job", "instance", "region", "zone", "cluster", "type", "service"}
    assert [family.name for family in families if not family.documentation] == []
    assert [row for family in families for row in family.samples if clashes & set(row.labels)] == []


def test_the_openmetrics_form_says_the_same(scrape: Scrape) -> None:
    told = generate_openmetrics(busy(scrape).registry).decode()
    names = {family.name for family in text_string_to_metric_families(told)}
    assert names == {family.name for family in scrape.registry.collect()}


def test_no_name_has_anything_to_escape(scrape: Scrape) -> None:
    """The API leaves out the search for it."""
    registry = busy(scrape).registry
    assert generate_latest(registry, escaping=ALLOWUTF8) == generate_latest(registry)
    assert generate_openmetrics(registry, escaping=ALLOWUTF8) == generate_openmetrics(registry)


@pytest.mark.system
def test_promtool_finds_nothing_to_say(scrape: Scrape) -> None:
    if shutil.which("promtool") is None:
        reason = "promtool is not installed (Debian's package: prometheus)"
        pytest.fail(reason) if os.environ.get("GREENRUN_REQUIRE_ALL") == "1" else pytest.skip(reason)
    told = generate_latest(busy(scrape).registry)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=told, capture_output=True, timeout=HANGS_S, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_a_running_job_in_the_plan_does_not_count_as_waiting(scrape: Scrape) -> None:
    scrape.run_job(1)
    scrape.store.keep(stored(2))
    scrape.scheduler.latest = Plan(made_at=NOW, placements=(placed(1), placed(2)))
    assert scrape.value("greenrun_jobs_waiting", reason="cleanest_window") == 1.0


def test_the_quality_of_forecasts_is_told_by_lead_time_as_far_as_it_is_known(scrape: Scrape) -> None:
    scrape.scheduler.quality.latest = [judged(), judged(basis=None, bias=99.0)]
    name, origin = (
        "greenrun_grid_forecast_bias_grams_per_kwh",
        {"grid_zone": "GB", "provider": "test", "signal": judged().series.signal_text},
    )
    assert [scrape.value(name, **origin, lead=lead) for lead in ("0-6h", "0-24h")] == [None, -2.5]
    captured = {row["lead"] for row in scrape.labels("greenrun_grid_forecast_captured_ratio")}
    assert captured == {"24-48h", "0-24h"}
    scrape.scheduler.quality.latest = []
    assert "greenrun_grid_forecast_bias" not in generate_latest(scrape.registry).decode()


def test_a_counter_that_a_restart_sets_back_says_so() -> None:
    """The others are persisted: in TOTALS, or by device."""
    counters = [family for family in families() if family.type == "counter"]
    kept = {name.removesuffix("_total") for name in TOTALS} | {f"greenrun_{kind}_energy_joules" for kind in KINDS}
    assert {family.name for family in counters} >= kept
    forgetful = [family for family in counters if family.name not in kept]
    assert [family.name for family in forgetful if "since the daemon started" not in family.documentation] == []


def test_a_histogram_is_cumulative_and_exists_from_zero(scrape: Scrape) -> None:
    assert scrape.value("greenrun_run_duration_seconds_count") == 0.0
    scrape.ended(1, greenrun_run_duration_seconds=10.0)
    scrape.ended(2, greenrun_run_duration_seconds=10.5)
    scrape.ended(3, greenrun_run_duration_seconds=1e7)
    told = [scrape.value("greenrun_run_duration_seconds_bucket", le=le) for le in ("10.0", "60.0", "604800.0", "+Inf")]
    assert told == [1.0, 2.0, 2.0, 3.0]
    assert scrape.value("greenrun_run_duration_seconds_count") == 3.0
    assert scrape.value("greenrun_run_duration_seconds_sum") == 10_000_020.5


def test_a_bucket_of_an_older_release_adds_to_the_next_larger_one(scrape: Scrape) -> None:
    for le, count in (("42.0", 4.0), ("60.0", 2.0), ("50.0", 1.0)):
        scrape.count("greenrun_run_duration_seconds_bucket", count, le=le)
    assert [scrape.value("greenrun_run_duration_seconds_bucket", le=le) for le in ("10.0", "60.0")] == [0.0, 7.0]


def test_the_openmetrics_form_names_the_last_job_of_each_bucket_and_the_plain_one_none(scrape: Scrape) -> None:
    busy(scrape)
    lines = generate_openmetrics(scrape.registry).decode().splitlines()
    named = [line for line in lines if "# {" in line]
    assert [line.split(" # ")[1] for line in named] == [
        f'{{job_id="7"}} {value} {NOW.timestamp()}' for value in ("90.0", "1e+09")
    ]
    assert "# {" not in generate_latest(scrape.registry).decode()


def test_a_limit_that_the_plan_cannot_keep_is_told_before_it_is_missed(scrape: Scrape) -> None:
    assert scrape.value("greenrun_deadlines_at_risk") == 0.0
    scrape.scheduler.latest = Plan(made_at=NOW, placements=(placed(1, late=True), placed(2)))
    assert scrape.value("greenrun_deadlines_at_risk") == 1.0


def test_a_disk_that_cannot_tell_its_room_is_absent() -> None:
    failures = {"write_failures": lambda: 3, "report_failures": lambda: 2}
    state = replace(live_state(FakeStore(), FakeScheduler()), disk_usage=lambda: None, **failures)
    registry = registry_of(MetricsCollector(FakeStore(), state))
    assert registry.get_sample_value("greenrun_disk_free_bytes") is None
    assert registry.get_sample_value("greenrun_db_write_failures_total") == 3.0
    assert registry.get_sample_value("greenrun_report_failures_total") == 2.0


def test_a_job_that_runs_again_is_shown_with_its_present_run(scrape: Scrape) -> None:
    scrape.run_job(1, energy_j=10.0)
    assert scrape.value("greenrun_running_job_energy_joules", job_id="1") == 10.0
    (first,) = scrape.store.job_runs[1]
    again = replace(first, id=201, number=2)
    scrape.store.job_runs[1] = [replace(first, outcome=Outcome.FAILED), again]
    scrape.store.totals[again.id] = Total(energy_j=3.0)
    assert scrape.value("greenrun_running_job_energy_joules", job_id="1") == 3.0
    scrape.store.job_runs[1][1] = replace(again, outcome=Outcome.SUCCEEDED)
    scrape.store.keep(stored(1, State.SUCCEEDED))
    assert scrape.value("greenrun_running_job_energy_joules", job_id="1") == 3.0


def test_what_each_device_used_goes_on_from_what_is_persisted_and_begins_at_zero(scrape: Scrape) -> None:
    assert scrape.value("greenrun_gpu_energy_joules_total", gpu_uuid=GPU.id) == 0.0
    scrape.count("greenrun_gpu_energy_joules_total", 7.5, gpu_uuid=GPU.id)
    scrape.count("greenrun_gpu_energy_joules_total", 9.0, gpu_uuid="one that was taken out")
    scrape.count("greenrun_cpu_package_energy_joules_total", 2.5, package=CPU.id)
    assert scrape.labels("greenrun_gpu_energy_joules_total") == [{"gpu_uuid": GPU.id}]
    assert scrape.value("greenrun_gpu_energy_joules_total", gpu_uuid=GPU.id) == 7.5
    assert scrape.value("greenrun_cpu_package_energy_joules_total", package=CPU.id) == 2.5
    assert scrape.labels("greenrun_dram_energy_joules_total") == []


def test_plans_and_answers_are_timed_from_zero_on() -> None:
    planning, asking = Histogram(PLAN_DURATION), {"uk": Histogram(REQUEST_DURATION)}
    state = replace(live_state(FakeStore(), FakeScheduler()), planning=lambda: planning, asking=lambda: asking)
    value = registry_of(MetricsCollector(FakeStore(), state)).get_sample_value
    names = ("greenrun_plan_duration_seconds_count", "greenrun_grid_request_duration_seconds_count")
    assert [value(names[0]), value(names[1], {"provider": "uk"})] == [0.0, 0.0]
    for seconds in (0.5, 2.0, 99.0):
        planning.add(seconds)
        asking["uk"].add(seconds)
    told = [value("greenrun_plan_duration_seconds_bucket", {"le": le}) for le in ("0.1", "1.0", "10.0", "+Inf")]
    assert told == [0.0, 1.0, 2.0, 3.0]
    assert value("greenrun_grid_request_duration_seconds_sum", {"provider": "uk"}) == 101.5


def test_errors_of_forecasts_are_told_by_zone_signal_and_horizon(scrape: Scrape) -> None:
    near, far = {"grid_zone": "GB", "horizon": "1h"}, {"grid_zone": "DE", "horizon": "24h"}
    near, far = near | {"signal": "average_direct"}, far | {"signal": "marginal"}
    for labels, error in ((near, 10.0), (near, 10.1), (far, 500.0)):
        scrape.store.books.add_counts(added({FORECAST_ERROR: error}, tuple(sorted(labels.items()))))
    assert [scrape.value(f"{FORECAST_ERROR}_bucket", **near, le=le) for le in ("10.0", "30.0", "+Inf")] == [1, 2, 2]
    assert [scrape.value(f"{FORECAST_ERROR}_bucket", **far, le=le) for le in ("100.0", "+Inf")] == [0, 1]
    assert scrape.value(f"{FORECAST_ERROR}_sum", **near) == 20.1


# a part that fails, and series that are new


def test_a_part_that_fails_loses_its_own_series_and_says_so(scrape: Scrape, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[Run]:
        raise StoreError("it is away")

    scrape.count("greenrun_jobs_finished_total", 3.0, outcome="failed")
    monkeypatch.setattr(scrape.store, "live_runs", fail)
    success = {row["collector"]: scrape.value("greenrun_scrape_collector_success", **row)
               for row in scrape.labels("greenrun_scrape_collector_success")}  # fmt: skip
    assert {name for name, value in success.items() if value == 0} == {"devices", "jobs", "running_jobs"}
    assert scrape.value("greenrun_jobs_finished_total", outcome="failed") == 3.0
    assert scrape.value("greenrun_jobs", state="queued") is None
    monkeypatch.undo()
    assert scrape.value("greenrun_jobs", state="queued") == 0.0
    assert scrape.value("greenrun_scrape_collector_success", collector="jobs") == 1.0


def test_a_fault_that_is_no_error_of_ours_fails_no_scrape_either(scrape: Scrape) -> None:
    def fail() -> MeterHealth:
        raise ZeroDivisionError

    state = replace(live_state(scrape.store, scrape.scheduler), meter=fail)
    families = {family.name for family in MetricsCollector(scrape.store, state).collect()}
    assert "greenrun_grid_rung" in families
    assert "greenrun_gpu_up" not in families


def test_what_was_counted_before_the_store_could_be_read_is_not_new_then(
    scrape: Scrape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all that there is would fall to 0 for a moment, and be counted once more."""

    def fail() -> list[Run]:
        raise StoreError("it is away")

    scrape.count(SETTLED, 7.0, project="vision")
    collector = MetricsCollector(scrape.store, live_state(scrape.store, scrape.scheduler))
    monkeypatch.setattr(scrape.store.books, "counters", fail)
    collector.warm()
    monkeypatch.undo()
    assert registry_of(collector).get_sample_value(SETTLED, {"project": "vision"}) == 7.0


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        (SETTLED, {"project": "vision"}),
        ("greenrun_energy_joules_total", {"component": "gpu", "quality": "bridged"}),
        ("greenrun_external_energy_joules_total", {"meter": "EXTERNAL-1a2b-pdu"}),
    ],
)
def test_a_new_series_is_at_zero_before_it_has_its_first_value(
    scrape: Scrape, name: str, labels: dict[str, str]
) -> None:
    scrape.value(name, **labels)
    scrape.count(name, 0.226, **labels)
    told = [scrape.value(name, **labels)]
    scrape.now += timedelta(seconds=14)
    told.append(scrape.value(name, **labels))
    scrape.now += timedelta(seconds=1)
    scrape.count(name, 0.3, **labels)
    told.append(scrape.value(name, **labels))
    assert told == [0.0, 0.0, 0.3]


def test_a_cause_of_failures_that_is_new_begins_at_zero() -> None:
    scrape, failures = Scrape(), dict[tuple[str, str], int]()
    state = replace(live_state(scrape.store, scrape.scheduler), failures=lambda: failures, now=scrape.clock)
    registry = registry_of(MetricsCollector(scrape.store, state))
    labels = {"provider": "uk", "cause": "ProviderUnavailable"}
    failures["uk", "ProviderUnavailable"] = 2
    assert registry.get_sample_value("greenrun_grid_request_failures_total", labels) == 2.0
    failures["uk", "ProviderGarbage"] = 1
    labels["cause"] = "ProviderGarbage"
    assert registry.get_sample_value("greenrun_grid_request_failures_total", labels) == 0.0
    scrape.now += timedelta(minutes=1)
    assert registry.get_sample_value("greenrun_grid_request_failures_total", labels) == 1.0


def test_a_project_has_its_totals_at_zero_from_its_first_submission_on(scrape: Scrape) -> None:
    scrape.count("greenrun_projects", 0.0, project="vision")
    for name in ("greenrun_job_energy_joules_total", "greenrun_emissions_grams_total", SETTLED):
        assert scrape.value(name, project="vision") == 0.0
    scrape.signals.clear()
    assert scrape.value("greenrun_emissions_grams_total", project="vision") is None
    assert scrape.value("greenrun_projects", project="vision") is None


def test_conditions_are_those_that_health_checks_tell_and_the_others_are_0() -> None:
    world, since = World(), NOW - timedelta(minutes=5)
    world.scheduler.wrong = [
        Condition(code=ConditionCode.SOCKET_LOST, effect=Effect.FAILING, text="it is gone", remedy="x", since=since)
    ]
    world.scheduler.lives = replace(world.scheduler.lives, last_tick_at=since, draining=True)
    told = {row["code"] for row in world.ask("GET", "/healthz").json()["conditions"]}
    lines = [row for row in world.ask("GET", "/metrics").text.splitlines() if row.startswith("greenrun_condition{")]
    shown = dict(re.findall(r'condition="(\w+)"} (\S+)', "\n".join(lines)))
    assert {"socket_lost", "ticks_stalled", "stopping"} <= told
    assert shown == {code.value: str(float(code in told)) for code in ConditionCode}


def test_a_job_with_a_limit_and_no_place_in_the_plan_is_at_risk(scrape: Scrape) -> None:
    scrape.store.keep(stored(1, max_delay=HOUR), stored(2), stored(3, max_delay=HOUR))
    waiting = tuple(
        Waiting(job_id=job, reason=because(code, **parts))
        for job, code, parts in (
            (1, ReasonCode.TOO_FEW_GPUS, {"gpus": 8, "have": "2"}),
            (2, ReasonCode.TOO_FEW_GPUS, {"gpus": 8, "have": "2"}),
            (3, ReasonCode.HELD, {"who": "ada", "job": 3}),
        )
    )
    scrape.scheduler.latest = Plan(made_at=NOW, waiting=waiting)
    assert scrape.value("greenrun_deadlines_at_risk") == 1.0


@pytest.mark.parametrize(("signal", "is_told"), [(Signal.AVERAGE, True), (None, True), (Signal.MARGINAL, False)])
def test_the_bound_of_a_plan_by_marginal_intensities_is_not_told_as_emissions(
    signal: Signal | None, is_told: bool
) -> None:
    made = Plan(made_at=NOW, placements=(placed(1, signal=signal),), bound_g=3.0)
    told = {metric.name for metric in plan_metrics(made, 0, 0, 0)}
    assert ("greenrun_plan_bound_grams" in told) is is_told
