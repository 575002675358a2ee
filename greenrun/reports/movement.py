"""What moved between two reports of one period: every figure that changed, once, with what it was and why."""

from collections.abc import Iterator, Mapping, Sequence
from math import isclose
from typing import Any

Row = Mapping[str, Any]

ROUNDING = 1e-9  # relative: sums that were added up in another order are the same
SETTLED = "settled since"
BOOKED = "energy booked later"
SETTINGS = "settings changed"
NEWER = "another release of greenrun"
WENT_ON = "runs started, went on or ended since"
PRICED = "prices of electricity told since"
UNTOLD = "not known: neither energy, prices, runs, settings nor the release changed"

_OF_COST = ("cost", "currency")
_OF_ENERGY = (
    *("kwh", "_w", "coverage_ratio", "gap_seconds", "energy_uncertainty_pct", "_method", "utilization"),
    *("market", "water", *_OF_COST),
)
_OF_PRICES = (
    *("emissions", "ci_", "settled", "avoided", "baseline", "unpriced", "marginal", "flags", "complete", "_pct"),
    *("grid_zone", "td_loss", "compared"),
)
_OF_RUNS = (
    *("jobs", "runs", "seconds", "outcome", "exit_code", "_at", "attempts", "gpu_", "coverage", "avoided", "baseline"),
    *("embodied", "work", "compared"),
)
_COUNTS = ("jobs", "runs", "wasted_runs", "run_seconds", "attempts", "outcome", "ended_at")


def compared(before: Row, after: Row) -> dict[str, Any]:
    """Return what the later of two reports says of the earlier one: `compared_with` and `moved`.

    Raise ValueError when they are not of the same period, or the earlier one is no report.
    """
    try:
        if not _is_report(before):
            raise TypeError("a part of it is missing")
        return {"compared_with": before["generated_at"], "moved": moved(before, after)}
    except (TypeError, OverflowError, RecursionError) as exc:  # a number, or a depth, that no report has
        raise ValueError(f"the earlier report is none that greenrun wrote: {exc}") from exc


def moved(before: Row, after: Row) -> list[dict[str, Any]]:
    """Return `{where, field, before, after, why}` for each figure of the total, the unattributed and the rows.

    Raise ValueError when they are not of the same period. Rows are compared where both reports have the same sort.
    """
    if (before["from"], before["to"]) != (after["from"], after["to"]):
        raise ValueError(
            f"the earlier report is of {before['from']} to {before['to']} and this one of {after['from']} to "
            f"{after['to']}; only reports of one period can be compared"
        )
    general = _general(before, after)
    return [line for where, old, new in _pairs(before, after) for line in _changes(where, old, new, general)]


def _is_report(found: Row) -> bool:
    rows, texts = found.get("rows"), [found.get(name) for name in ("generated_at", "from", "to", "by")]
    parts = [found.get("total"), found.get("unattributed"), *(rows if isinstance(rows, list) else [None])]
    is_whole = all(isinstance(part, Mapping) and "group" in part for part in parts)
    return is_whole and all(isinstance(text, str) for text in texts)


def _pairs(before: Row, after: Row) -> Iterator[tuple[str, Row, Row]]:
    for name in ("total", "unattributed"):
        yield name, before[name], after[name]
    if before["by"] == after["by"]:
        old, new = ({str(row["group"]): row for row in report["rows"]} for report in (before, after))
        for group in {**new, **old}:
            yield f"{after['by']} {group}", old.get(group, {}), new.get(group, {})


def _changes(where: str, old: Row, new: Row, general: Sequence[str]) -> Iterator[dict[str, Any]]:
    was, came = dict(_leaves(old)), dict(_leaves(new))
    for field in {**came, **was}:
        if not _same(was.get(field), came.get(field)):
            why = _why(field, old, new, general)
            yield {"where": where, "field": field, "before": was.get(field), "after": came.get(field), "why": why}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is told, by its path; a list of plain values is one leaf, and what is missing is None."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}.{item.get('hour', index)}")
    else:
        yield path, None if value in ([], {}) else value


def _same(old: Any, new: Any) -> bool:
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in (old, new))
    return isclose(old, new, rel_tol=ROUNDING, abs_tol=1e-12) if numbers else old == new


def _general(before: Row, after: Row) -> list[str]:
    """Return the causes that may have moved any figure."""
    found = []
    if before.get("config_hash") != after.get("config_hash"):
        found.append(SETTINGS)
    if before.get("greenrun_version") != after.get("greenrun_version"):
        found.append(NEWER)
    return found


def _why(field: str, old: Row, new: Row, general: Sequence[str]) -> str:
    leaf = field.rsplit(".", 1)[-1]
    of_prices = _is_one(leaf, _OF_PRICES) and "market" not in leaf
    possible = {
        BOOKED: (of_prices or _is_one(leaf, _OF_ENERGY)) and _differ(old, new, ("it_energy_kwh",)),
        SETTLED: of_prices and _differ(old, new, ("settled_ratio", "emissions_settled_g")),
        PRICED: _is_one(leaf, _OF_COST) and _differ(old, new, ("cost_missing_kwh",)),
        WENT_ON: _is_one(leaf, _OF_RUNS) and _differ(old, new, _COUNTS),
    }
    causes = [cause for cause, may_be in possible.items() if may_be]
    if not causes and not (old and new):
        causes = [WENT_ON]  # the row itself came or went
    return "; ".join([*causes, *general]) or UNTOLD


def _differ(old: Row, new: Row, fields: Sequence[str]) -> bool:
    return any(not _same(old.get(name), new.get(name)) for name in fields)


def _is_one(field: str, signs: Sequence[str]) -> bool:
    return any(sign in field for sign in signs)
