"""`estimate` tells hours, energy and emissions with their method, and refuses what cannot be meant."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.examples import at
from tests.fake_api import FakeApi

NOWHERE = ("--socket", "/nowhere/s")
JOB = ("--gpus", "8", "--gpu-model", "H100", "--gpu-hours", "16")  # two hours at 4,256 W


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A day of 300 g/kWh from 2026-06-01 on, but for 100 from 10:00 to 12:00."""
    hours = [f"2026-06-01T{hour:02}:00Z,{100 if hour in (10, 11) else 300}" for hour in range(24)]
    path = tmp_path / "grid.csv"
    path.write_text("\n".join(["start,g_per_kwh", *hours, ""]), encoding="utf-8")
    return path


def of_trace(run: Run, trace: Path, *words: str) -> dict[str, Any]:
    ran = run("estimate", *words, "--intensity", str(trace), "--at", "2026-06-01T00:00Z", "--json")
    assert ran.code == 0, ran.err
    answer: dict[str, Any] = json.loads(ran.out)
    return answer


def test_a_trace_gives_grams_for_now_the_best_and_the_latest_start(run: Run, trace: Path) -> None:
    """2 h at 4.256 kW are 8.512 kWh: at 300 g/kWh 2,553.6 g, at 100 a third of it."""
    told = of_trace(run, trace, *JOB, "--max-delay", "12h")
    assert (told["duration_s"], told["power_w"]["value"], told["energy_kwh"]["value"]) == pytest.approx(
        (7200, 4256, 8.512)
    )
    rows = told["windows"]
    assert [rows[name]["start"] for name in ("now", "best", "latest")] == [
        "2026-06-01T00:00:00Z", "2026-06-01T10:00:00Z", "2026-06-01T12:00:00Z",
    ]  # fmt: skip
    grams = [rows[name]["emissions_g"]["value"] for name in ("now", "best", "latest")]
    assert grams == pytest.approx([2553.6, 851.2, 2553.6])
    assert rows["best"]["kinds"] == {"forecast": 1.0}
    assert (told["intensity"]["source"], told["intensity"]["zone"]) == ("trace", None)


def test_a_finish_by_bounds_the_end(run: Run, trace: Path) -> None:
    told = of_trace(run, trace, *JOB, "--finish-by", "2026-06-01T11:00Z")
    assert told["latest_start"] == "2026-06-01T09:00:00Z"
    assert told["windows"]["best"]["start"] == "2026-06-01T09:00:00Z"
    assert told["windows"]["best"]["g_per_kwh"] == 200


def test_the_pue_counts_once(run: Run, trace: Path) -> None:
    plain, facility = (of_trace(run, trace, *JOB, "--pue", pue)["energy_kwh"]["value"] for pue in ("1", "1.5"))
    assert facility == pytest.approx(1.5 * plain)


def test_operations_are_turned_into_hours(run: Run, trace: Path) -> None:
    """1e21 / (989.5e12 x 0.4) s = 701.8 GPU-hours; and 6 x N x D gives the same work."""
    size = ("--gpus", "64", "--gpu-model", "H100", "--mfu")
    one = of_trace(run, trace, *size, "0.4", "--flops", "1e21")
    other = of_trace(run, trace, *size, "40%", "--params", "1e9", "--tokens", "1.6666666666666667e11")
    assert one["gpu_hours"]["value"] == pytest.approx(1e21 / 989.5e12 / 0.4 / 3600)
    assert other["gpu_hours"]["value"] == pytest.approx(one["gpu_hours"]["value"])
    assert (
        one["gpu_hours"]["method"] == "1e+21 FLOP / (989.5 TFLOP/s (NVIDIA H100 data sheet, dense BF16/FP16) x MFU 0.4)"
    )


def test_a_gpu_without_a_data_sheet_can_be_described(run: Run, trace: Path) -> None:
    own = ("--power", "1.2kW", "--flops", "3.6e18", "--mfu", "0.5", "--peak-flops", "1e15")
    told = of_trace(run, trace, "--gpu-model", "Wafer 9", *own)
    assert (told["gpu_hours"]["value"], told["energy_kwh"]["value"]) == pytest.approx((2, 2.4))
    assert (told["gpu_model"], told["energy_kwh"]["least"]) == (None, None)


def test_what_a_person_sees(run: Run, trace: Path) -> None:
    words = ("--max-delay", "12h", "--intensity", str(trace), "--zone", "GB", "--at", "2026-06-01T00:00Z")
    lines = run("estimate", *JOB, *words).out.splitlines()
    assert lines[0] == "8 x H100 SXM, 16 GPU-hours: 2h by the clock, 8.51 kWh (5.6 to 11.2)"
    assert lines[2].split() == ["START", "WHEN", "(UTC)", "G/KWH", "CO2E", "RANGE"]
    assert lines[4].split() == [
        "best", "2026-06-01", "10:00", "to", "2026-06-01", "12:00", "100", "851", "g", "560", "to", "1,120",
        "67", "%", "below", "now",
    ]  # fmt: skip
    assert any(line.startswith("power      4.26 kW: 8 x 700 W (NVIDIA H100 data sheet) x load 0.76") for line in lines)
    assert lines[-1] == "intensity  GB, the trace grid.csv; how far it may be wrong is not in the range"


def test_without_a_daemon_there_is_energy_and_the_reason_why_no_grams(run: Run) -> None:
    told = json.loads(run("estimate", *JOB, *NOWHERE, "--json").out)
    assert told["energy_kwh"]["value"] == pytest.approx(8.512)
    assert (told["windows"], told["intensity"]) == (None, None)
    assert told["reason"].startswith("there is no forecast: cannot reach the greenrun daemon at /nowhere/s")
    assert "emissions  unknown, because there is no forecast: cannot reach" in run("estimate", *JOB, *NOWHERE).out


def test_a_daemon_s_forecast_is_used_with_what_it_is(api: FakeApi, run: Run) -> None:
    slots = [
        {"start": at(hours=h - 1), "end": at(hours=h), "g_per_kwh": 500.0 - 50 * h, "kind": kind}
        for h, kind in enumerate(["forecast"] * 3 + ["estimated"] * 2)
    ]
    body = {"zone": "GB", "provider": "uk", "issued_at": at(), "rung": "stale", "slots": slots}
    api.get("/v1/forecast", body)
    told = json.loads(run("estimate", *JOB, "--max-delay", "1h", "--zone", "GB", "--json").out)
    assert api.asked[0].query == {"zone": ["GB"]}
    assert (told["intensity"]["provider"], told["intensity"]["rung"]) == ("uk", "stale")
    assert told["windows"]["best"]["kinds"]["estimated"] == pytest.approx(0.5, abs=0.01)
    out = run("estimate", *JOB, "--max-delay", "1h").out
    assert "50 % of it beyond the forecast, from past days" in out
    assert "GB, forecast by uk, issued " in out


@pytest.mark.parametrize(
    ("zone", "why"), [(None, "the daemon's settings name no zone"), ("GB", "there is no forecast for GB now")]
)
def test_a_daemon_without_a_forecast_is_told_apart(api: FakeApi, run: Run, zone: str | None, why: str) -> None:
    api.get("/v1/forecast", {"zone": zone, "provider": None, "rung": "none", "slots": []})
    assert json.loads(run("estimate", *JOB, "--json").out)["reason"].startswith(why)


def test_a_job_that_outlasts_the_forecast_has_no_grams_and_says_why(run: Run, trace: Path) -> None:
    told = of_trace(run, trace, "--gpu-hours", "30", "--power", "100")["windows"]["now"]
    assert (told["emissions_g"], told["g_per_kwh"]) == (None, None)
    assert told["reason"].startswith("the forecast ends at 2026-06-02 00:00:00Z")


def test_without_a_limit_the_configured_longest_delay_holds(run: Run, trace: Path) -> None:
    told = of_trace(run, trace, *JOB)
    assert (told["limit"], told["latest_start"]) == ("default", "2026-06-02T00:00:00Z")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--power", "1"], "say how much work it is"),
        (["--power", "1", "--gpu-hours", "0"], "'0' is not a number from"),
        (["--power", "1", "--gpu-hours", "-3"], "'-3' is not a number from"),
        (["--power", "1", "--gpu-hours", "nan"], "'nan' is not a number from"),
        (["--power", "1", "--gpu-hours", "inf"], "'inf' is not a number from"),
        (["--power", "1", "--gpu-hours", "1e9"], "last 114,077 years"),
        (["--power", "1", "--gpu-hours", "1e-5"], "last less than a second"),
        (["--power", "0", "--gpu-hours", "1"], "'0' is not a number from 1"),
        (["--gpu-hours", "1"], "name the GPUs"),
        (["--gpu-hours", "1", "--gpu-model", "H20"], "known are B200 SXM"),
        (["--gpu-hours", "1", "--flops", "1e20", "--power", "1"], "give one of --flops, --gpu-hours"),
        (["--gpu-hours", "1", "--mfu", "0.4", "--power", "1"], "--gpu-hours does not need it"),
        (["--gpu-hours", "1", "--tokens", "5", "--power", "1"], "goes with --params"),
        (["--flops", "1e20", "--gpu-model", "H100"], "such as --mfu 0.4"),
        (["--flops", "1e20", "--gpu-model", "H100", "--mfu", "1.1"], "'1.1' is not a number from"),
        (["--flops", "1e20", "--power", "5", "--mfu", "0.4"], "name the GPUs for their speed"),
        (["--params", "1e9", "--gpu-model", "H100", "--mfu", "0.4"], "on how many tokens"),
        (["--gpu-hours", "1", "--power", "1", "--gpus", "1.5"], "'1.5' is not a whole number"),
        (["--gpu-hours", "1", "--power", "1", "--pue", "0.9"], "'0.9' is not a number from 1 to 5"),
        (["--gpu-hours", "1", "--power", "1", "--max-delay", "5"], "has no unit"),
        (["--gpu-hours", "1", "--power", "1", "--max-delay", "5h", "--finish-by", "9h"], "not both"),
        (["--gpu-hours", "2", "--power", "1", "--finish-by", "1h"], "cannot end by then"),
    ],
)
def test_what_cannot_be_meant_is_usage(run: Run, words: list[str], problem: str) -> None:
    joined = [f"{name}={value}" for name, value in zip(words[::2], words[1::2], strict=True)]
    ran = run("estimate", *joined, *NOWHERE)
    assert (ran.code, ran.out) == (2, "")
    assert problem in ran.err


def test_all_problems_are_told_at_once(run: Run) -> None:
    ran = run("estimate", "--gpus", "0", "--gpu-model", "x", "--flops", "nan", "--mfu", "7", "--pue", "0", "--json")
    fields = {row["field"] for row in json.loads(ran.err)["errors"]}
    assert (ran.code, fields) == (2, {"--gpus", "--gpu-model", "--flops", "--mfu", "--pue"})


def test_a_trace_that_is_not_there_is_a_sentence(run: Run) -> None:
    ran = run("estimate", *JOB, "--intensity", "nowhere.csv")
    assert ran.code == 1
    assert "cannot be read" in ran.err
