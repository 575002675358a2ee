"""BoAmps reports of jobs (Boavizta's format, model 1.1.0): what greenrun knows, what labels add, and what is missing.

github.com/Boavizta/BoAmps, `model/`: the fields, which of them are required, and which words some of them allow.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import cast
from uuid import NAMESPACE_URL, uuid5

from pydantic import JsonValue

from greenrun.reports.figure_models import Document
from greenrun.reports.model import JobRow, Report

VERSION = "1.1.0"
SPECIFICATION = "https://github.com/Boavizta/BoAmps/tree/main/model"
LABEL = "boamps."  # the prefix of a job's label that sets a field; `[reports] boamps` has the rest of its name

# What a label or a setting can provide: its name there, and where it belongs in a report.
_OF_ALGORITHM = (
    "trainingType", "algorithmType", "algorithmName", "algorithmUri", "foundationModelName", "foundationModelUri",
    "parametersNumber", "framework", "frameworkVersion", "classPath", "layersNumber", "epochsNumber", "optimizer",
    "quantization",
)  # fmt: skip
_OF_DATASET = (
    "dataUsage", "dataType", "dataFormat", "dataSize", "dataQuantity", "shape", "source", "sourceUri", "owner",
)  # fmt: skip
FIELDS: Mapping[str, tuple[str, ...]] = {
    "licensing": ("header",),
    "name": ("header", "publisher"),
    "division": ("header", "publisher"),
    "confidentialityLevel": ("header", "publisher"),
    **dict.fromkeys(("taskStage", "taskFamily", "nbRequest", "measuredAccuracy"), ("task",)),
    **dict.fromkeys(("estimatedAccuracy", "taskDescription"), ("task",)),
    **dict.fromkeys(_OF_ALGORITHM, ("task", "algorithms")),
    **dict.fromkeys(_OF_DATASET, ("task", "dataset")),
    **dict.fromkeys(("infraType", "cloudProvider", "cloudInstance", "cloudService"), ("infrastructure",)),
    **dict.fromkeys(("country", "location", "powerSupplierType", "powerSource"), ("environment",)),
}
WORDS: Mapping[str, tuple[str, ...]] = {
    "confidentialityLevel": ("public", "internal", "confidential", "secret"),
    "infraType": ("publicCloud", "privateCloud", "onPremise", "other"),
    "dataUsage": ("input", "output"),
    "dataType": ("tabular", "audio", "boolean", "image", "video", "object", "text", "token", "word", "other"),
    "source": ("public", "private", "other"),
    "estimatedAccuracy": ("veryPoor", "poor", "average", "good", "veryGood"),
    "powerSupplierType": ("public", "private", "internal", "other"),
    "powerSource": ("solar", "wind", "nuclear", "hydroelectric", "gas", "coal", "other"),
}
NUMBERS = frozenset(
    {
        *("nbRequest", "measuredAccuracy", "parametersNumber", "layersNumber", "epochsNumber"),
        *("dataSize", "dataQuantity"),
    }
)
LISTS = ("algorithms", "dataset")
REQUIRED = (
    "header.reportDatetime", "header.publisher.confidentialityLevel", "task.taskStage", "task.taskFamily",
    "task.algorithms", "task.dataset", "task.dataset.dataUsage", "task.dataset.dataType",
    "measures.measurementMethod", "measures.powerConsumption", "infrastructure.infraType",
    "infrastructure.components", "environment.country",
)  # fmt: skip
QUALITIES = ((10.0, "high"), (25.0, "medium"))  # up to what uncertainty, in percent; anything wider is "low"


def boamps(report: Report) -> list[Document]:
    """Return a BoAmps report per job whose energy is known.

    What the format requires and neither greenrun nor a label nor a setting provides is left out, and its path is in the
    report's `missing`, a field that the format does not have.
    """
    return [_complete(_job_report(row, report)) for row in report.job_rows if row.it_energy_kwh is not None]


def lacking(report: Report) -> list[str]:
    """Return the paths of required fields that are missing for some job."""
    missing = [_missing(_job_report(row, report)) for row in report.job_rows if row.it_energy_kwh is not None]
    return sorted({path for paths in missing for path in paths})


def wrong(name: str, value: str) -> str | None:
    """Return what is wrong with a field from a label or a setting; None when nothing is."""
    if name not in FIELDS:
        return f"is no field of BoAmps that can be set; there are {', '.join(sorted(FIELDS))}"
    if name in WORDS and value not in WORDS[name]:
        return f"must be one of {', '.join(WORDS[name])}"
    return "must be a number" if name in NUMBERS and _number(value) is None else None


def _job_report(row: JobRow, report: Report) -> Document:
    known: Document = {
        "header": {
            "formatVersion": VERSION,
            "formatVersionSpecificationUri": SPECIFICATION,
            "reportId": str(uuid5(NAMESPACE_URL, f"greenrun:{row.host}:{row.job_id}:{_iso(report.end)}")),
            "reportDatetime": _instant(report.generated_at),
            "reportStatus": "draft" if "not_settled" in row.flags else "final",
            "publisher": {"projectName": row.project},
        },
        "task": {"taskDescription": row.job_name},
        "measures": [_measure(row, report)],
        "infrastructure": {"components": _components(row)},
        "environment": {
            "country": row.country_name,
            "location": row.site,
            "powerSourceCarbonIntensity": row.ci_avg_g_per_kwh,
        },
        "quality": _quality(row),
    }
    for name, value in _told(row, report).items():
        _put(known, FIELDS[name], name, value)
    return {key: _without_gaps(value) for key, value in known.items() if value is not None}


def _told(row: JobRow, report: Report) -> dict[str, str | float]:
    """Return the fields from settings and, with precedence, the job's labels; invalid ones are left out."""
    labels = {key.removeprefix(LABEL): value for key, value in row.tags.items() if key.startswith(LABEL)}
    given = {**report.boamps, **labels}
    return {
        name: number if name in NUMBERS and (number := _number(value)) is not None else value
        for name, value in given.items()
        if wrong(name, value) is None
    }


def _put(report: Document, path: Sequence[str], name: str, value: str | float) -> None:
    place = report
    for part in path:
        inner = place.setdefault(part, [{}] if part in LISTS else {})
        place = cast(Document, inner[0] if isinstance(inner, list) else inner)
    place[name] = value


def _measure(row: JobRow, report: Report) -> Document:
    return {
        "measurementMethod": "greenrun",
        "version": report.greenrun_version,
        "cpuTrackingMode": row.cpu_source or row.cpu_method,
        "gpuTrackingMode": row.gpu_source or row.gpu_method,
        "averageUtilizationGpu": row.gpu_utilization_avg,
        "powerConsumption": row.it_energy_kwh,
        "measurementDuration": row.run_seconds,
        "measurementDateTime": _instant(row.started_at) if row.started_at else None,
    }


def _components(row: JobRow) -> list[JsonValue]:
    gpus: list[JsonValue] = [
        {"componentName": model, "componentType": "gpu", "nbComponent": count}
        for model, count in row.gpu_models.items()
    ]
    if not gpus and row.gpu_count:
        gpus = [{"componentType": "gpu", "nbComponent": row.gpu_count}]
    if gpus or not row.cpu_model:
        return gpus
    return [{"componentName": row.cpu_model, "componentType": "cpu", "nbComponent": 1}]


def _quality(row: JobRow) -> str | None:
    """Return how good the energy is in the format's words; none is worse than what is made up."""
    width_pct = row.energy_uncertainty_pct
    if "emulated" in row.flags:
        return "low"
    if width_pct is None:
        return None
    return next((word for most, word in QUALITIES if width_pct <= most), "low")


def _complete(report: Document) -> Document:
    missing: list[JsonValue] = [*_missing(report)]
    return {**report, "missing": missing} if missing else report


def _missing(report: Document) -> list[str]:
    absent = [path for path in REQUIRED if not _has(report, path.split("."))]
    return [path for path in absent if path.rpartition(".")[0] not in absent]


def _has(value: JsonValue, path: Sequence[str]) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_has(item, path) for item in value)
    if not path:
        return value is not None and value != {}
    return isinstance(value, dict) and path[0] in value and _has(value[path[0]], path[1:])


def _without_gaps(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _without_gaps(item) for key, item in value.items() if item is not None}
    return [_without_gaps(item) for item in value] if isinstance(value, list) else value


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _iso(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


def _instant(instant: datetime) -> str:
    """Return an instant as the format writes it: `YYYY-MM-DD HH:MM:SS`, UTC."""
    return f"{instant:%Y-%m-%d %H:%M:%S}"
