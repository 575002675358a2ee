"""A real daemon books a job's baseline and its marginal emissions, each by itself, and tells them wherever it tells."""

import json
from datetime import timedelta

import pytest

from greenrun.clock import utc_now
from tests.patience import until
from tests.system.harness import Daemon, replayed, short_folder, write_trace


def test_a_job_s_energy_is_priced_marginally_and_compared_with_an_earlier_start() -> None:
    with short_folder() as folder:
        settings = replayed(write_trace(folder, [200] * 2000), speed=600, horizon="800h")
        rows = (folder / "trace.csv").read_text(encoding="utf-8").replace(",200", ",500")
        (folder / "moer.csv").write_text(rows, encoding="utf-8")
        trace = settings["provider"]["trace"]
        beside = {**trace, "path": str(folder / "moer.csv"), "signal": "marginal", "zone": "CAISO"}
        settings = {"grid": {**settings["grid"], "marginal": "moer"}, "provider": {"trace": trace, "moer": beside}}
        with Daemon(folder, settings) as daemon:
            job = daemon.submit("--now", "--duration", "4s", "--", "sleep", "3")
            daemon.wait_for(job)

            def compared() -> bool:
                run = json.loads(daemon.cli("show", str(job), "--json").out)["runs"][-1]
                return run["avoided_g"] is not None

            until(compared, "the run is compared")
            told = until(lambda: priced(daemon), "its energy is priced, as settled and marginally")
            states = {row["name"]: row["role"] for row in json.loads(daemon.cli("providers", "list", "--json").out)}
    assert told["avoided_g"] == pytest.approx(0, abs=1e-6)
    assert told["avoided_runs"] == 1
    assert told["emissions_marginal_g"] == pytest.approx(
        2.5 * told["emissions_location_g"] * told["marginal_ratio"], rel=0.01
    )
    assert (told["ci_provider"], told["emissions_settled_g"] is not None) == ("trace", True)
    assert states == {"trace": "both", "moer": "marginal"}


def priced(daemon: Daemon) -> dict[str, float] | None:
    """The same sums once all that is asked of them is there."""
    told = total(daemon)
    return told if told["marginal_ratio"] > 0.9 and told["emissions_settled_g"] is not None else None


def total(daemon: Daemon) -> dict[str, float]:
    """The sums of a report of all that there is."""
    ran = daemon.cli("report", "--from", f"{utc_now() - timedelta(days=2):%Y-%m-%d}", "--json")
    assert ran.code == 0, ran
    report = json.loads(ran.out)
    return {**report["rows"][0], "marginal_ratio": report["rows"][0]["marginal_ratio"] or 0.0}
