"""`greenrun forecast --quality`: how good forecasts were, as a table for each source."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from greenrun.cli import text
from greenrun.cli.tables import print_table, print_wrapped
from greenrun.core.formatting import clock_text, decimal_text, percent_text
from greenrun.submission.local_zone import zone_name

_FIGURES = {
    "mean_absolute_error_g_per_kwh": "error",
    "bias_g_per_kwh": "bias",
    "rank_correlation": "order",
    "captured_ratio": "captured",
}
_LEGEND = (
    "ahead: hours after the forecast was known; error: mean distance from what was measured, in g CO2e/kWh;",
    "bias: forecast minus measured; order: rank correlation of the hours with those that came, 1 is the same order;",
    "captured: of what the cleanest 4 h in 24 h would have saved, what choosing them by the forecast saved",
)


def print_quality(answer: Mapping[str, Any], now: datetime) -> None:
    """Print the quality of each source's forecasts, what is not known with its reason, and what the columns mean."""
    if not answer["series"]:
        print(_absence(answer))
        return
    judged_at = f"{clock_text(text.instant(answer['judged_at']), now)} {zone_name(now)}"
    for series in answer["series"]:
        kind = ", ".join(str(series[key]) for key in ("signal", "accounting", "basis") if series[key])
        whose = f"{series['zone']}: forecasts by {series['provider']} ({kind})"
        print_wrapped([f"{whose} of the last 8 weeks, judged at {judged_at}"], "  ")
        print_table(
            ("ahead", "forecasts", "hours", *_FIGURES.values()),
            [_row(lead) for lead in series["leads"]],
            right=("forecasts", "hours", *_FIGURES.values()),
        )
        print_wrapped(_reasons(series["leads"]), "  ")
        print()
    print_wrapped(_LEGEND, "  ")


def _absence(answer: Mapping[str, Any]) -> str:
    if answer["zone"] is None:
        return "no zone is set, so there are no forecasts to judge: set [grid] zone"
    if answer["judged_at"] is None:
        return "forecasts are judged once an hour, and have not been yet: ask again in a few minutes"
    return f"no forecast of {answer['zone']} is kept from the last 8 weeks, so there is nothing to judge"


def _row(lead: Mapping[str, Any]) -> list[str]:
    error, bias, order, captured = (lead[name] for name in _FIGURES)
    return [
        _ahead(lead),
        str(lead["issues"]),
        str(lead["hours"]),
        "-" if error is None else decimal_text(error, 1),
        "-" if bias is None else f"{bias:+.1f}",
        "-" if order is None else decimal_text(order, 2),
        "-" if captured is None else percent_text(captured),
    ]


def _ahead(lead: Mapping[str, Any]) -> str:
    return f"{lead['from_h']}-{lead['to_h']} h"


def _reasons(leads: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield why figures are missing, each reason once with all that it holds for."""
    found: dict[tuple[str, str], list[str]] = {}
    for lead in leads:
        for why in dict.fromkeys(lead["missing"].values()):
            names = [column for name, column in _FIGURES.items() if lead["missing"].get(name) == why]
            found.setdefault((", ".join(names), why), []).append(_ahead(lead))
    for (columns, why), ahead in found.items():
        yield f"no {columns} {'at all' if len(ahead) == len(leads) else 'at ' + ', '.join(ahead)}: {why}"
