"""What `greenrun measure` tells: energy, the intensity that it is priced with, and what is unknown."""

import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.clock import utc_now
from greenrun.measuring import measurement
from greenrun.measuring.measurement import READING_LIMIT_S
from tests.cli.conftest import Run
from tests.cli.measure.runs import PLUG, PRICED, Settings, answer
from tests.fake_api import FakeApi
from tests.meters.cpu.powercap import FakeZone
from tests.patience import HANGS_S, watching


def types(value: object) -> object:
    """The shape of JSON: names and types."""
    if isinstance(value, dict):
        return {name: types(inner) for name, inner in value.items()}
    return [types(inner) for inner in value] if isinstance(value, list) else type(value).__name__


def test_the_json_has_the_agreed_fields(run: Run, settings: Settings) -> None:
    told = answer(run("measure", "--config", str(settings(PRICED)), "--json", "--for", "0.2s").out)
    agreed = {
        "duration_s": "float",
        "energy_j": "float",
        "emissions_g": "float",
        "intensity": {"g_per_kwh": "float", "kind": "str", "provider": "str"},
        "exit_code": "NoneType",
    }
    assert {name: types(told[name]) for name in agreed if name != "intensity"} == {
        name: kind for name, kind in agreed.items() if name != "intensity"
    }
    assert types({name: told["intensity"][name] for name in ("g_per_kwh", "kind", "provider")}) == agreed["intensity"]
    assert {(each["kind"], each["quality"], each["gap_s"]) for each in told["devices"]} == {("gpu", "emulated", 0.0)}
    assert all(isinstance(each["id"], str) and isinstance(each["energy_j"], float) for each in told["devices"])


def test_energy_emissions_and_their_intensity_fit_together(run: Run, settings: Settings) -> None:
    told = answer(run("measure", "--config", str(settings(PRICED)), "--json", "--for", "0.3s").out)
    assert told["energy_j"] == pytest.approx(sum(each["energy_j"] for each in told["devices"]))
    assert told["energy_j"] == pytest.approx(2 * 100 * told["duration_s"], rel=0.05)
    assert told["intensity"]["kind"] == "estimated"
    assert told["emissions_g"] == pytest.approx(told["energy_j"] / 3.6e6 * 250 * 1.5)


def test_people_get_a_sentence_and_a_table_and_see_what_is_emulated(run: Run, settings: Settings) -> None:
    ran = run("measure", "--config", str(settings(PRICED)), "--for", "0.3s")
    assert (ran.code, ran.err) == (0, "")
    sentence, head, first, second, note = ran.out.splitlines()
    assert "Wh (emulated), 200 W on average" in sentence
    assert "CO2e at 250 g/kWh (estimated by mean for GB)" in sentence
    assert head.split() == ["DEVICE", "MODEL", "ENERGY", "POWER", "QUALITY", "NOT", "READ"]
    assert "EMULATED" in first
    assert second.startswith("gpu 1")
    assert note.startswith("emulated: these watts follow what the daemon's jobs do")


def test_without_any_meter_energy_is_unknown_with_the_refusals_and_the_command_runs(run: Run, tmp_path: Path) -> None:
    ran = run("measure", "--json", "--cpu-meter", "rapl", "--", "touch", "ran")
    told = answer(ran.out)
    assert ran.code == 0
    assert (tmp_path / "ran").exists()
    assert (told["energy_j"], told["emissions_g"], told["intensity"], told["devices"]) == (None, None, None, [])
    assert told["exit_code"] == 0
    assert told["reason"].startswith("no meter can be read")
    assert told["refusals"] != []
    assert all(f"not measured: {refusal}" in ran.err for refusal in told["refusals"])


def test_without_a_zone_energy_is_told_and_emissions_are_unknown(run: Run, cpu: FakeZone) -> None:
    told = answer(run("measure", "--json", "--meter", "none", "--for", "0.2s").out)
    assert [(each["kind"], each["quality"]) for each in told["devices"]] == [("cpu", "measured")]
    assert told["energy_j"] == 0.0
    assert told["emissions_g"] is None
    assert "greenrun does not guess where it is" in told["emissions_reason"]


def test_the_energy_is_that_between_start_and_end(run: Run, cpu: FakeZone) -> None:
    """The command itself lets the counter go on, by 50 J."""
    script = f"echo {round(1050 * 1e6)} > {cpu.folder}/energy_uj; sleep 0.3"
    told = answer(run("measure", "--json", "--meter", "none", "--", "sh", "-c", script).out)
    assert told["energy_j"] == pytest.approx(50.0, rel=1e-6)


def test_a_counter_that_jumps_makes_the_sum_unknown_and_says_so(run: Run, cpu: FakeZone) -> None:
    script = f"echo {round(9e9)} > {cpu.folder}/energy_uj; sleep 0.3"
    told = answer(run("measure", "--json", "--meter", "none", "--", "sh", "-c", script).out)
    assert (told["energy_j"], told["devices"][0]["quality"]) == (None, "unknown")
    assert "its counter began anew or jumped" in told["reason"]


@pytest.mark.system
def test_a_meter_at_the_plug_is_told_and_not_added(run: Run, settings: Settings) -> None:
    told = answer(run("measure", "--config", str(settings(PRICED + PLUG)), "--json", "--", "sleep", "2").out)
    *gpus, plug = told["devices"]
    assert (plug["kind"], plug["in_total"], plug["quality"], plug["gap_s"]) == ("external", False, "measured", 0.0)
    assert plug["power_w"] == pytest.approx(250, rel=0.1)
    assert told["energy_j"] == pytest.approx(sum(each["energy_j"] for each in gpus))
    assert told["emissions_g"] == pytest.approx(told["energy_j"] / 3.6e6 * 250 * 1.5)


@pytest.mark.system
def test_a_meter_at_the_plug_that_never_answers_is_not_waited_for(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement, "READING_LIMIT_S", READING_LIMIT_S)
    broken = PLUG[: PLUG.index("command =")] + 'command = ["false"]\nunit = "J"\nevery = "30s"\n'
    with watching() as watch:
        told = answer(run("measure", "--config", str(settings(PRICED + broken)), "--json", "--", "true").out)
    assert watch.seconds < 15
    assert told["devices"][-1]["energy_j"] is None
    assert told["energy_j"] is not None
    assert (told["quality"], told["uncertainty_pct"]) == ("emulated", None)
    assert any("exit code 1" in note for note in told["notes"])


UNKNOWN_ZONE = {"zone": None, "provider": None, "rung": "none", "slots": []}


def forecast(now: datetime) -> dict[str, Any]:
    """What the daemon tells: 100 g/kWh in the half hour that is, 900 after it."""
    edges = [now + timedelta(minutes=minutes) for minutes in (-10, 20, 50)]
    slots = [
        {"start": start.isoformat(), "end": end.isoformat(), "g_per_kwh": value, "kind": "forecast"}
        for start, end, value in zip(edges, edges[1:], (100.0, 900.0), strict=False)
    ]
    return {"zone": "GB", "provider": "uk", "rung": "fresh", "slots": slots}


def test_the_daemon_tells_the_intensity_of_its_zone(run: Run, cpu: FakeZone, api: FakeApi) -> None:
    api.get("/v1/forecast", forecast(utc_now()))
    told = answer(run("measure", "--json", "--meter", "none", "--for", "0.2s").out)
    assert told["zone"] == "GB"
    assert told["intensity"].pop("g_per_kwh") == pytest.approx(100.0)
    assert told["intensity"] == {"kind": "forecast", "provider": "uk", "kinds": {"forecast": 1.0}, "signal": "average"}
    assert told["emissions_g"] == 0.0


def test_a_daemon_whose_answer_cannot_be_used_is_a_reason(run: Run, cpu: FakeZone, api: FakeApi) -> None:
    told = forecast(utc_now())
    api.get("/v1/forecast", {**told, "slots": [{**slot, "kind": "guessed"} for slot in told["slots"]]})
    ran = run("measure", "--json", "--meter", "none", "--for", "0.2s")
    assert (ran.err, answer(ran.out)["emissions_g"]) == ("", None)


def test_a_daemon_without_a_zone_leaves_emissions_unknown(run: Run, cpu: FakeZone, api: FakeApi) -> None:
    api.get("/v1/forecast", UNKNOWN_ZONE)
    told = answer(run("measure", "--json", "--meter", "none", "--for", "0.2s").out)
    assert (told["zone"], told["intensity"], told["emissions_g"]) == (None, None, None)


def test_a_daemon_that_tells_nothing_of_the_zone_leaves_the_sources(run: Run, settings: Settings, api: FakeApi) -> None:
    told = answer(run("measure", "--config", str(settings(PRICED)), "--json", "--for", "0.2s").out)
    assert api.asked != []
    assert told["intensity"]["provider"] == "mean"


def test_a_source_that_cannot_tell_is_a_reason(run: Run, settings: Settings) -> None:
    broken = PRICED.replace('kind = "static"\ng_per_kwh = 250', 'kind = "file"\npath = "missing.csv"')
    ran = run("measure", "--config", str(settings(broken)), "--json", "--", "sh", "-c", "exit 4")
    told = answer(ran.out)
    assert ran.code == 4
    assert (told["emissions_g"], told["intensity"], told["zone"]) == (None, None, "GB")
    assert "missing.csv" in told["emissions_reason"]


def test_a_slow_source_keeps_nobody_waiting(run: Run, cpu: FakeZone, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    monkeypatch.setattr(measurement, "INTENSITY_LIMIT_S", 0.1)
    monkeypatch.setattr(measurement.WindowIntensity, "ask", lambda self: free.wait(HANGS_S) and None)
    told = answer(run("measure", "--json", "--meter", "none", "--for", "0.2s").out)
    free.set()
    assert told["energy_j"] == 0.0
    assert told["intensity"] is None
