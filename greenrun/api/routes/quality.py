"""The route of how good the forecasts were."""

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from greenrun.api.identity import Caller
from greenrun.api.json_types import Instant, Number
from greenrun.api.service import Daemon
from greenrun.core.carbon.intensity import Accounting, Basis, Signal
from greenrun.core.carbon.verification import ForecastScores
from greenrun.grid.forecast_quality import SeriesScores

router = APIRouter(prefix="/v1", tags=["grid"])


class LeadOut(BaseModel):
    """How forecasts turned out between `from_h` and `to_h` hours ahead; what is null has its reason in `missing`.

    `bias_g_per_kwh` is forecast minus measured; `rank_correlation` is of the hours of one forecast with one another,
    and the mean over forecasts; `captured_ratio` is what choosing the cleanest 4 h in 24 h by them saved, of what was
    to be saved, both against the first 4 h.
    """

    from_h: int
    to_h: int
    issues: int
    hours: int
    mean_absolute_error_g_per_kwh: Number
    bias_g_per_kwh: Number
    rank_correlation: Number
    captured_ratio: Number
    missing: dict[str, str]


class SeriesQualityOut(BaseModel):
    """How good the forecasts of one series were: by lead time, and over the day ahead."""

    zone: str
    provider: str
    signal: Signal
    accounting: Accounting | None
    basis: Basis | None
    leads: list[LeadOut]


class ForecastQualityOut(BaseModel):
    """How good forecasts were over the last eight weeks; judged hourly, `judged_at` is null before the first time."""

    zone: str | None
    judged_at: Instant | None
    series: list[SeriesQualityOut]


@router.get("/forecast/quality")
def get_forecast_quality(daemon: Daemon, caller: Caller, zone: str | None = None) -> ForecastQualityOut:
    """Return how good the forecasts of a zone were, the series whose last forecast is the newest first."""
    quality = daemon.scheduler.quality
    wanted = zone or daemon.settings.zone
    if zone is not None and zone not in quality.zones:
        known = ", ".join(quality.zones)
        does = f"has forecasts of {known} only" if known else "has no zone: set [grid] zone"
        raise HTTPException(404, f"This daemon {does}, so it judges none of {zone}.")
    rows = [_series(judged) for judged in quality.latest if judged.series.zone == wanted]
    return ForecastQualityOut(zone=wanted, judged_at=quality.judged_at, series=rows)


def _series(judged: SeriesScores) -> SeriesQualityOut:
    series = judged.series
    return SeriesQualityOut(
        zone=series.zone,
        provider=series.provider,
        signal=series.signal,
        accounting=series.accounting,
        basis=series.basis,
        leads=[_lead(row) for row in judged.leads],
    )


def _lead(row: ForecastScores) -> LeadOut:
    return LeadOut(
        from_h=row.lead_h[0],
        to_h=row.lead_h[1],
        issues=row.issues,
        hours=row.hours,
        mean_absolute_error_g_per_kwh=row.mean_absolute_error_g_per_kwh,
        bias_g_per_kwh=row.bias_g_per_kwh,
        rank_correlation=row.rank_correlation,
        captured_ratio=row.captured_ratio,
        missing=dict(row.missing),
    )
