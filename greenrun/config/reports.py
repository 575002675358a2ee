"""[reports] and [uncertainty]: the content and schedule of reports, and the uncertainty of figures."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import NoDecode

from greenrun.config.values import parse_names
from greenrun.providers.settings import Duration, ExpandedPath, Section
from greenrun.reports.exports.boamps import wrong

Form = Literal["html", "json", "csv"]
Forms = Annotated[tuple[Form, ...], NoDecode, BeforeValidator(parse_names), Field(min_length=1)]
HalfWidth = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
By = Literal["project", "user", "job", "zone"]


def _told(fields: dict[str, str]) -> dict[str, str]:
    found = {name: why for name, value in fields.items() if (why := wrong(name, value))}
    if found:
        raise ValueError("; ".join(f"{name} {why}" for name, why in found.items()))
    return fields


class ReportsSettings(Section):
    """[reports]"""

    folder: Annotated[ExpandedPath | None, BeforeValidator(lambda value: None if value == "" else value)] = None
    monthly: bool = False
    formats: Forms = ("html", "json", "csv")
    by: By = "project"
    settled_by: Duration = timedelta(days=3)
    site: Annotated[str, Field(max_length=200)] = ""
    organisation: Annotated[str, Field(max_length=200)] = ""
    boundary: Literal["operational control", "financial control", "equity share", ""] = ""
    boamps: Annotated[dict[str, str], AfterValidator(_told)] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _monthly_needs_a_folder(self) -> "ReportsSettings":
        if self.monthly and self.folder is None:
            raise ValueError("monthly reports need a folder to be written to; set folder, or monthly = false")
        return self


class UncertaintySettings(Section):
    """[uncertainty]: half-widths as parts of the energy, but `pue`, which is absolute."""

    measured: HalfWidth = 0.05
    rapl: HalfWidth = 0.05
    integrated: HalfWidth = 0.10
    sparse: HalfWidth = 0.15
    bridged: HalfWidth = 0.20
    estimated: HalfWidth = 0.50
    pue: HalfWidth = 0.1
