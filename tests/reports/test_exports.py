"""Other people's forms are as they define them: BoAmps' model 1.1.0 and the emissions.csv of CodeCarbon 3.3.2.

What is required and allowed is written out here from their documentation, apart from the code that is tested.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.carbon.intensity import Kind
from greenrun.core.energy.ledger import Entry, Priced
from greenrun.core.energy.model import Component, Device, Mark, Quality, Slice
from greenrun.core.jobs.job import JobSpec, Outcome, State
from greenrun.core.units import emissions_g
from greenrun.reports.cells import cells
from greenrun.reports.exports import boamps
from greenrun.reports.exports.codecarbon import codecarbon
from greenrun.reports.exports.sci import sci
from greenrun.reports.exports.spreadsheet import as_csv
from greenrun.reports.identity import Place
from greenrun.reports.model import Report
from greenrun.store import Store
from tests.reports.build import END, NOW, T0, UK, WHY, reports_of

HOUR = timedelta(hours=1)
PUE, WATTS, G_PER_KWH = 1.25, 300.0, 200.0
LABELS = {
    "boamps.taskStage": "training", "boamps.taskFamily": "image classification", "boamps.algorithmType": "cnn",
    "boamps.epochsNumber": "12", "boamps.dataUsage": "input", "boamps.dataType": "image", "team": "vision",
}  # fmt: skip
DEFAULTS = {"confidentialityLevel": "internal", "infraType": "onPremise", "taskStage": "inference"}

# github.com/Boavizta/BoAmps, model/*.json of release 1.1.0: what must be there, of which type, and which words it has
TEXT, NUMBER, WHOLE = (str,), (int, float), (int,)
BOAMPS: dict[str, Any] = {
    "header*": {
        "licensing": TEXT, "formatVersion": TEXT, "formatVersionSpecificationUri": TEXT, "reportId": TEXT,
        "reportDatetime*": re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"),
        "reportStatus": ("draft", "final", "corrective", "other"),
        "publisher*": {
            "name": TEXT, "division": TEXT, "projectName": TEXT,
            "confidentialityLevel*": ("public", "internal", "confidential", "secret"),
        },
    },
    "task*": {
        "taskStage*": TEXT, "taskFamily*": TEXT, "nbRequest": NUMBER, "measuredAccuracy": NUMBER,
        "estimatedAccuracy": ("veryPoor", "poor", "average", "good", "veryGood"), "taskDescription": TEXT,
        "algorithms*": [{"algorithmType": TEXT, "algorithmName": TEXT, "epochsNumber": NUMBER, "framework": TEXT}],
        "dataset*": [
            {
                "dataUsage*": ("input", "output"),
                "dataType*": (
                    "tabular", "audio", "boolean", "image", "video", "object", "text", "token", "word", "other",
                ),
                "dataSize": NUMBER,
            }
        ],
    },
    "measures*": [
        {
            "measurementMethod*": TEXT, "version": TEXT, "cpuTrackingMode": TEXT, "gpuTrackingMode": TEXT,
            "averageUtilizationGpu": NUMBER, "powerConsumption*": NUMBER, "measurementDuration": NUMBER,
            "measurementDateTime": re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"),
        }
    ],
    "infrastructure*": {
        "infraType*": ("publicCloud", "privateCloud", "onPremise", "other"), "cloudProvider": TEXT,
        "components*": [{"componentName": TEXT, "componentType*": TEXT, "nbComponent*": WHOLE}],
    },
    "environment": {
        "country*": TEXT, "location": TEXT, "powerSupplierType": ("public", "private", "internal", "other"),
        "powerSourceCarbonIntensity": NUMBER,
    },
    "quality": ("high", "medium", "low"),
    "missing": TEXT,  # greenrun's own: what the format requires and nobody told
}  # fmt: skip

# codecarbon 3.3.2, output_methods/emissions_data.py: the fields of EmissionsData, in their order
CODECARBON = (
    "timestamp,project_name,run_id,experiment_id,duration,emissions,emissions_rate,cpu_power,gpu_power,ram_power,"
    "cpu_energy,gpu_energy,ram_energy,energy_consumed,water_consumed,country_name,country_iso_code,region,"
    "cloud_provider,cloud_region,os,python_version,codecarbon_version,cpu_count,cpu_model,gpu_count,gpu_model,"
    "longitude,latitude,ram_total_size,tracking_mode,cpu_utilization_percent,gpu_utilization_percent,"
    "ram_utilization_percent,ram_used_gb,on_cloud,pue,wue"
)


def faults(value: Any, form: Any, path: str = "") -> Iterator[str]:
    """What in a value is not of the form: the paths of what lacks, is not known, or is of another kind."""
    if isinstance(form, dict):
        yield from faults_of_fields(value, form, path)
    elif isinstance(form, list):
        items = value if isinstance(value, list) else []
        yield from [] if items else [f"{path} is no list with something in it"]
        yield from (fault for item in items for fault in faults(item, form[0], path))
    elif not fits(value, form):
        yield f"{path} {value!r}"


def faults_of_fields(value: dict[str, Any], form: dict[str, Any], path: str) -> Iterator[str]:
    names = {name.rstrip("*"): name for name in form}
    yield from (f"{path}.{name} lacks" for name, full in names.items() if full.endswith("*") and name not in value)
    yield from (f"{path}.{name} is not known" for name in value.keys() - names.keys())
    for name in value.keys() & names.keys() - {"missing"}:
        yield from faults(value[name], form[names[name]], f"{path}.{name}")


def fits(value: Any, form: Any) -> bool:
    if isinstance(form, re.Pattern):
        return bool(form.fullmatch(value))
    return type(value) in form if isinstance(form[0], type) else value in form


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "greenrun.db") as opened:
        yield opened


def report_of(
    store: Store, labels: dict[str, str], defaults: dict[str, str], quality: Quality = Quality.MEASURED
) -> Report:
    """The report of one job that held two GPUs of two models for an hour, and of none beside it."""
    spec = JobSpec(command=("a",), workdir="/", name="train", project="p", duration=HOUR, gpus=2, labels=labels)
    job, _ = store.jobs.add_jobs([spec], user="ada", uid=1, now=T0)[0]
    run = store.runs.claim(job.id, ["GPU-0", "GPU-1"], reason=WHY, now=T0)
    assert run is not None
    store.runs.confirm(run.id, started_at=T0, log=None, now=T0)
    store.runs.close_run(
        run.id, outcome=Outcome.SUCCEEDED, exit_code=0, started_at=T0, ended_at=T0 + HOUR, log=None,
        job_state=State.SUCCEEDED, reason=WHY, now=T0 + HOUR,
    )  # fmt: skip
    pieces = [
        Slice(device=f"GPU-{n}", component=Component.GPU, run_id=run.id, start=T0, end=T0 + HOUR,
              energy_j=WATTS * 3600, quality=quality)
        for n in range(2)
    ]  # fmt: skip
    grams = emissions_g(WATTS * 3600, G_PER_KWH, PUE)
    price = Priced(intensity_g_per_kwh=G_PER_KWH, emissions_g=grams, kind=Kind.MEASURED, series=UK)
    marks = [Mark(device=f"GPU-{n}", at=T0 + HOUR, energy_j=0, counter="c", session="s") for n in range(2)]
    store.books.append_slices([Entry(slice=piece, pue=PUE, booked=price) for piece in pieces], marks, now=NOW)
    store.books.settle({key: price for key, *_ in store.books.unsettled(NOW, limit=9)}, now=NOW)
    made = reports_of(store)
    made._devices = lambda: [
        Device(id="GPU-0", index=0, model="NVIDIA A100", source="nvml"),
        Device(id="GPU-1", index=1, model="NVIDIA H100", source="nvml"),
    ]
    made._settings = replace(made._settings, place=Place(host="node1", cpu_model="EPYC"), boamps=defaults)
    return made.report(T0, END, "job", NOW)


def test_boamps_has_all_that_the_format_requires_where_labels_and_settings_tell_the_rest(store: Store) -> None:
    (made,) = boamps.boamps(report_of(store, LABELS, DEFAULTS))
    assert list(faults(made, BOAMPS)) == []
    assert "missing" not in made
    assert made["task"]["taskStage"] == "training"  # the job's own word goes before the setting's
    assert made["task"]["algorithms"] == [{"algorithmType": "cnn", "epochsNumber": 12.0}]
    assert made["header"]["publisher"] == {"projectName": "p", "confidentialityLevel": "internal"}


def test_boamps_figures_are_in_the_units_of_the_format(store: Store) -> None:
    (made,) = boamps.boamps(report_of(store, LABELS, DEFAULTS))
    measure = made["measures"][0]
    assert measure["powerConsumption"] == pytest.approx(2 * WATTS / 1000)  # kWh
    assert measure["measurementDuration"] == 3600.0  # seconds
    assert (measure["gpuTrackingMode"], measure["measurementMethod"]) == ("nvml", "greenrun")
    assert made["environment"]["powerSourceCarbonIntensity"] == pytest.approx(G_PER_KWH)  # g/kWh
    assert made["environment"]["country"] == "Great Britain (United Kingdom)"
    components = [(row["componentName"], row["nbComponent"]) for row in made["infrastructure"]["components"]]
    assert components == [("NVIDIA A100", 1), ("NVIDIA H100", 1)]
    assert (made["quality"], made["header"]["reportStatus"]) == ("high", "final")


def test_emulated_energy_is_told_as_such_in_every_format(store: Store) -> None:
    made = report_of(store, LABELS, DEFAULTS, Quality.EMULATED)
    (row,) = made.job_rows
    assert (row.emulated_kwh, row.measured_kwh, row.gpu_method) == (pytest.approx(2 * WATTS / 1000), None, "emulated")
    assert (row.energy_uncertainty_pct, row.emissions_uncertainty_pct) == (None, None)
    assert "emulated" in row.flags
    assert {"energy_uncertainty_pct", "emissions_uncertainty_pct", "ci_uncertainty_pct"} <= made.missing.keys()
    assert cells(row)["±"] == "unknown"
    (passed_on,) = boamps.boamps(made)
    assert passed_on["quality"] == "low"
    (score,) = sci(made).jobs
    assert (score.E_by_grade_kwh, score.E_uncertainty_pct) == ({"emulated": score.E_kwh}, None)
    line = next(iter(csv.DictReader(io.StringIO(as_csv(made)))))
    assert (line["emulated_kwh"], line["measured_kwh"], line["gpu_method"]) == ("0.6", "", "emulated")


@pytest.mark.parametrize("quality", [Quality.MEASURED, Quality.EMULATED])
def test_the_grades_of_energy_in_a_score_make_all_of_it(store: Store, quality: Quality) -> None:
    (score,) = sci(report_of(store, LABELS, DEFAULTS, quality)).jobs
    assert score.E_kwh == pytest.approx(2 * WATTS / 1000 * PUE)
    assert sum(score.E_by_grade_kwh.values()) == pytest.approx(score.E_kwh)


def test_a_score_without_energy_says_why_there_is_none(store: Store) -> None:
    made = report_of(store, LABELS, DEFAULTS)
    (row,) = made.job_rows
    unknown = dict.fromkeys(("facility_energy_kwh", "it_energy_kwh", "ci_avg_g_per_kwh", "emissions_location_g"))
    told = sci(made.model_copy(update={"rows": [row.model_copy(update=unknown)]}))
    assert {"E_kwh", "I_g_per_kwh", "operational_g_per_job"} <= told.missing.keys()
    assert not {"E_kwh", "I_g_per_kwh", "operational_g_per_job"} & sci(made).missing.keys()
    assert told.jobs[0].E_by_grade_kwh == {}


def test_the_uncertainty_of_what_is_measured_and_settled_is_that_of_its_meter_and_its_pue(store: Store) -> None:
    (row,) = report_of(store, LABELS, DEFAULTS).job_rows
    assert row.energy_uncertainty_pct == pytest.approx(5)
    assert row.emissions_uncertainty_pct == pytest.approx((25 + (10 / PUE) ** 2) ** 0.5)
    assert row.ci_uncertainty_pct is None  # nobody publishes it, and 0.0 would say that it is certain


def test_boamps_invents_nothing_and_names_what_is_missing(store: Store) -> None:
    (made,) = boamps.boamps(report_of(store, {"boamps.dataType": "moon", "boamps.nonsense": "1"}, {}))
    assert made["missing"] == [
        "header.publisher.confidentialityLevel", "task.taskStage", "task.taskFamily", "task.algorithms",
        "task.dataset", "infrastructure.infraType",
    ]  # fmt: skip
    lacking = {fault.removeprefix(".").removesuffix(" lacks") for fault in faults(made, BOAMPS)}
    assert lacking == set(made["missing"])


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [("infraType", "cellar", "must be one of"), ("nbRequest", "many", "must be a number"), ("power", "1", "no field"),
     ("taskStage", "training", None), ("epochsNumber", "3", None), ("nbRequest", "nan", "must be a number")],
)  # fmt: skip
def test_what_a_setting_tells_wrongly_is_told(name: str, value: str, why: str | None) -> None:
    told = boamps.wrong(name, value)
    assert told is None if why is None else why in str(told)


def test_codecarbon_s_header_is_its_own_and_so_are_its_units(store: Store) -> None:
    written = codecarbon(report_of(store, {}, {}))
    assert written.splitlines()[0] == CODECARBON
    (row,) = csv.DictReader(io.StringIO(written))
    kwh = 2 * WATTS / 1000 * PUE  # CodeCarbon multiplies power and energy of each component by the PUE
    assert float(row["energy_consumed"]) == pytest.approx(kwh) == float(row["gpu_energy"])
    assert float(row["emissions"]) == pytest.approx(kwh * G_PER_KWH / 1000)  # kg
    assert float(row["emissions_rate"]) == pytest.approx(kwh * G_PER_KWH / 1000 / 3600)  # kg/s
    assert [float(row[name]) for name in ("duration", "gpu_power")] == pytest.approx([3600.0, 2 * WATTS * PUE])
    assert (row["timestamp"], row["country_iso_code"], row["region"]) == ("2026-10-28T01:00:00", "GBR", "GB")
    assert (row["gpu_count"], row["gpu_model"]) == ("2", "1 x NVIDIA A100; 1 x NVIDIA H100")
    assert (row["cpu_energy"], row["os"], row["pue"]) == ("", "", "1.25")


def test_a_period_without_jobs_still_has_codecarbon_s_header(store: Store) -> None:
    assert codecarbon(reports_of(store).report(T0, END, "job", NOW)) == CODECARBON + "\n"
