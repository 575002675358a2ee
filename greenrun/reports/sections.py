"""The sections of the page beside the inventory itself: what moved, what was wasted or avoided, cost, other bases."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from greenrun.reports.words import amount, energy, grams, instant, money, per_work, percent, points, sum_of, table

Row = Mapping[str, Any]

_MOST_MOVED, _MOST_WORK = 60, 500
_GRADES = ("measured", "integrated", "estimated", "bridged")


def waste(report: Row) -> Iterator[str]:
    """Tell what runs used by how they ended."""
    wasted = [row for row in report["waste"] if row["is_waste"]]
    runs, kwh = sum(row["runs"] for row in wasted), sum_of(row["it_energy_kwh"] for row in wasted)
    whole = report["total"]["it_energy_kwh"]
    part = f" ({100 * kwh / whole:.3g} % of all)" if whole and kwh is not None else ""
    used = f"Runs that failed, timed out or were lost: {runs}. They used {energy(kwh)}{part}, which is in the above."
    yield f"<p>{used if wasted else 'No run failed, timed out or was lost.'}</p>"
    if not report["waste"]:
        return
    has_cost = any(row.get("cost") is not None for row in report["waste"])
    lines = [
        (_words(row["outcome"]), str(row["runs"]), energy(row["it_energy_kwh"]), grams(row["emissions_location_g"]))
        + ((money(row),) if has_cost else ())
        for row in report["waste"]
    ]
    heads = ("how runs ended", "runs", "energy", "CO2e", *(("cost",) if has_cost else ()))
    yield table(heads, lines, caption="Energy and emissions by how runs ended")


def forecast(row: Row) -> Iterator[str]:
    """Tell how far forecasts were off what settled them."""
    if row["booked_g"] is None:
        yield "<p>Nothing was booked by a forecast and settled since.</p>"
        return
    lines = [
        ("booked by the forecast", grams(row["booked_g"])),
        ("settled with the measured intensity", grams(row["settled_g"])),
        ("forecast less settled", grams(row["difference_g"])),
    ]
    yield table(("", "CO2e"), lines, caption="Forecast against settled")
    error = points(row["mean_absolute_error_pct"]) or "an unknown part"
    yield (
        f"<p>Both are of the {energy(row['energy_kwh'])} that a forecast priced and that is settled since. Hour by "
        f"hour they differ by {error} in the mean.</p>"
    )


def avoided(total: Row) -> Iterator[str]:
    """Tell what was avoided against starting at once, apart from the inventory."""
    if total["avoided_g"] is None:
        why = total["avoided_missing"] or "no run ended in this period"
        yield f"<p>Nothing can be compared: {escape(why)}.</p>"
        return
    off = total["avoided_uncertainty_g"]
    lines = [
        ("each run started as soon as possible", grams(total["baseline_emissions_g"])),
        ("the same runs as they were", grams(total["compared_emissions_g"])),
        ("avoided", grams(total["avoided_g"]) + (f" ± {grams(off)}" if off else "")),
    ]
    yield table(("", "CO2e"), lines, caption="Avoided emissions")
    yield f"<p>{total['avoided_runs']} of {total['runs']} runs are compared. "
    yield f"The others: {escape(total['avoided_missing'])}.</p>" if total["avoided_missing"] else "</p>"


def series(rows: Sequence[Row]) -> Iterator[str]:
    """Tell whose intensities priced what."""
    if not rows:
        yield "<p>No intensity was known.</p>"
        return
    lines = [
        (
            f"{row['provider']} · {row['zone']}",
            " · ".join(str(part) for part in (row["signal"], row["accounting"], row["basis"]) if part),
            energy(row["booked_kwh"]),
            grams(row["emissions_booked_g"]),
            energy(row["settled_kwh"]),
            grams(row["emissions_settled_g"]),
        )
        for row in rows
    ]
    heads = ("source", "what it tells", "booked", "CO2e booked", "settled", "CO2e settled")
    yield table(heads, lines, caption="Sources of carbon intensity")


def quality(report: Row) -> Iterator[str]:
    """Tell of the energy how much is of each grade, and how wide figures of it are taken to be."""
    total, widths = report["total"], report.get("uncertainty") or {}
    if not total["it_energy_kwh"]:
        return
    lines = [
        (grade, energy(total[f"{grade}_kwh"] or 0.0), percent((total[f"{grade}_kwh"] or 0.0) / total["it_energy_kwh"]),
         f"± {percent(widths.get(f'{grade}_ratio'))}")
        for grade in _GRADES
        if total[f"{grade}_kwh"]
    ]  # fmt: skip
    yield table(("grade", "energy", "part", "half-width"), lines, caption="Energy by how far it can be trusted")


def bases(total: Row) -> list[tuple[str, str, str]]:
    """Return what is told of cost and on other bases than the grid's average: name, figure and a remark."""
    lines = []
    if total.get("cost") is not None:
        lines.append(("cost of the electricity", money(total), "the facility's energy x the price of its hour"))
    if total.get("emissions_market_g") is not None:
        lines.append(
            ("emissions, market-based", grams(total["emissions_market_g"]), total["market_factor_source"] or "")
        )
    if total.get("emissions_marginal_g") is not None:
        lines.append(("emissions by the marginal signal", grams(total["emissions_marginal_g"]), "not in any sum"))
    if total.get("embodied_g") is not None:
        lines.append(("making of the hardware, its part", grams(total["embodied_g"]), ""))
    if total.get("td_loss_g") is not None:
        lines.append(("losses of transmission", grams(total["td_loss_g"]), "in no location-based figure"))
    if total.get("emissions_total_g") is not None:
        lines.append(("location-based, losses and making", grams(total["emissions_total_g"]), ""))
    if total.get("water_l") is not None:
        lines.append(("water", f"{total['water_l']:.3g} l", "by a factor per kWh of the devices"))
    if total.get("gpu_utilization_avg") is not None:
        told = f"told for {percent(total['gpu_utilization_coverage'])} of their time"
        lines.append(("time in which GPUs did anything", percent(total["gpu_utilization_avg"]), told))
    if total.get("idle_energy_kwh") is not None:
        above = f"{energy(total['energy_above_idle_kwh'])} above it; nothing is subtracted"
        lines.append(("what GPUs of runs draw when idle", energy(total["idle_energy_kwh"]), above))
    return lines


def work(report: Row) -> Iterator[str]:
    """Tell what the energy was for, where runs said what they had done."""
    told = [row for row in [*report["rows"], report["total"]] if row.get("work")]
    lines = [
        (str(row["group"]), f"{row['work']:,.6g} {row['work_unit'] or ''}".rstrip(), per_work(row)) for row in told
    ]
    if lines:
        yield table((report["by"], "work", "energy for each"), lines[:_MOST_WORK], caption="Work and its energy")


def movement(report: Row) -> Iterator[str]:
    """Tell what changed since the report of the same period that was compared with: what people read of a report."""
    rows = report["moved"]
    shown = [row for row in rows if row["field"] in _SHOWN][:_MOST_MOVED]
    since, count = escape(instant(report["compared_with"])), f"{len(rows)} {'figure' if len(rows) == 1 else 'figures'}"
    rest = f", of which {len(shown)} are below; the JSON form has all" if len(shown) < len(rows) else ""
    yield f"<p>Compared with the report of {since}: {count} changed{rest}.</p>"
    if shown:
        lines = [_moved(row) for row in shown]
        yield table(("", "before", "now", "change", "why"), lines, caption="What moved since the earlier report")


def _moved(row: Row) -> tuple[str, ...]:
    name, words = _SHOWN[row["field"]]
    before, after = row["before"], row["after"]
    change = words(after - before) if _is_figure(before) and _is_figure(after) else ""
    sign = "+" if change and after > before else ""
    told = (words(value) if value is None or _is_figure(value) else str(value) for value in (before, after))
    return f"{row['where']}: {name}", *told, f"{sign}{change}", row["why"]


def _is_figure(value: Any) -> bool:
    """Whether it can be reckoned with: an earlier report is a file, which may say anything."""
    return isinstance(value, (int, float)) and abs(value) < 1e300


def _words(code: str) -> str:
    return str(code).replace("_", " ")


_SHOWN: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "it_energy_kwh": ("energy", energy),
    "facility_energy_kwh": ("energy with the facility", energy),
    "emissions_location_g": ("emissions", grams),
    "emissions_market_g": ("emissions, market-based", grams),
    "avoided_g": ("avoided", grams),
    "cost": ("cost", amount),
    "settled_ratio": ("settled", percent),
    "coverage_ratio": ("energy known for", percent),
}
