"""Every query of the dashboards has data once a real Prometheus scrapes a real daemon that has run a job."""

from collections.abc import Iterator

import pytest

from tests.metrics.dashboards import ALERTS, RULES, Query, blocks, queries
from tests.patience import until
from tests.system.harness import Daemon, replayed, short_folder, write_trace
from tests.system.prometheus import Prometheus, scraping

# Differences over five minutes, which may pass here or not: tests/metrics/test_half_hour.py says what they say.
OVER_MINUTES = {
    "Power", "Power by component", "Power by GPU", "Power that no job used", "Power of GPUs that no job holds",
    "instance:greenrun_power_watts:sum_rate5m", "instance:greenrun_unattributed_power_watts:sum_rate5m",
}  # fmt: skip

# What has no data within the few seconds of this test, and why.
WITHOUT = {
    "Failed readings, per hour": "nothing does, of the emulated GPUs",
    "Power of GPUs beside their limits": "emulated GPUs have none",
    "Memory of GPUs in use": "emulated GPUs have none",
    "Temperature of GPUs": "emulated GPUs have none",
    "Power by processor package": "the processor is not metered here",
    "Marginal emissions of jobs, per day": "no source of marginal intensity is set",
    "Requests left in the quota": "a file has no quota",
    "Error of forecasts": "judged once an hour, from two days of forecasts and measured values",
    "Bias of forecasts": "likewise",
    "Error of forecasts, hour by hour": "counted once an hour",
    "What following forecasts was worth": "likewise",
}


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    """A Prometheus that has scraped a daemon while jobs waited, ran and failed, and their energy was settled."""
    with short_folder() as folder:
        trace = write_trace(folder, [300] * 4 + [200 + 7 * index % 90 for index in range(2000)])
        with (
            Daemon(folder, replayed(trace, speed=600, horizon="800h")) as daemon,
            scraping(daemon.metrics_address, folder, [RULES, ALERTS]) as running,
        ):
            daemon.submit("--start-after", "1h", "--max-delay", "70m", "--duration", "10s", "--", "true")
            until(lambda: running.has_data("greenrun_jobs_submitted_total == 1"), "the daemon is scraped")
            for code in (0, 1):  # one after the other, so that what the first one used is scraped before it grows
                sleeping = ("sh", "-c", f"sleep 3; exit {code}")
                daemon.wait_for(daemon.submit("--now", "--project", "vision", "--duration", "4s", "--", *sleeping))
                until(lambda: running.has_data("sum(greenrun_emissions_grams_total) > 0"), "its energy is scraped")
            until(lambda: running.has_data("sum(greenrun_settled_emissions_grams_total) > 0"), "energy is settled")
            until(lambda: running.has_data("sum(greenrun_run_energy_joules_count) == 2"), "the last run is scraped")
            grown = "sum(increase(greenrun_emissions_grams_total[5m])) > 0"
            until(lambda: running.has_data(grown), "the second run's energy is scraped")
            yield running


@pytest.mark.parametrize(
    "query", [row for row in queries() if row.panel not in WITHOUT.keys() | OVER_MINUTES], ids=lambda row: row.panel
)
def test_a_query_of_a_dashboard_has_data(prometheus: Prometheus, query: Query) -> None:
    until(lambda: prometheus.has_data(query.text), f"{query.panel}: {query.text}")


@pytest.mark.parametrize("query", [row for row in queries() if row.panel in WITHOUT], ids=lambda row: row.panel)
def test_what_is_said_to_have_no_data_has_none(prometheus: Prometheus, query: Query) -> None:
    assert not prometheus.has_data(query.text)


@pytest.mark.parametrize("name", [name for name in blocks(RULES, "record") if name not in OVER_MINUTES])
def test_a_recording_rule_has_data(prometheus: Prometheus, name: str) -> None:
    until(lambda: prometheus.has_data(name), name)


def test_nothing_fires_on_a_daemon_that_is_well(prometheus: Prometheus) -> None:
    firing = 'ALERTS{alertname=~"Greenrun.*", alertstate="firing"}'
    assert not prometheus.has_data(firing)
    pending = 'ALERTS{alertname=~"GreenrunDown|GreenrunGpu.*|GreenrunSampler.*|GreenrunScheduler.*|GreenrunWrites.*"}'
    until(lambda: not prometheus.has_data(pending), "nothing is pending but for a moment")
