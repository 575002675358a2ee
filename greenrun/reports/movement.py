"""Compare two reports of one period: every figure that changed, once, with what it was and why."""

from collections.abc import Iterator, Mapping, Sequence
from math import isclose
from typing import Annotated, TypeGuard

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from greenrun.reports.figure_models import Document, combined
from greenrun.reports.model import Change, ComparedReport, Report, first_problem

ROUNDING = 1e-9  # relative: sums that were added up in another order are the same
SETTLED = "settled since"
BOOKED = "energy booked later"
SETTINGS = "settings changed"
NEWER = "another release of greenrun"
WENT_ON = "runs started, went on or ended since"
PRICED = "prices of electricity published since"
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


def _named(row: Document) -> Document:
    if "group" not in row:
        raise ValueError("has no group")
    return row


NamedRow = Annotated[Document, AfterValidator(_named)]


class Snapshot(BaseModel):
    """A report as plain figures by name, of whichever release: an earlier one is a file, which may say anything."""

    model_config = ConfigDict(frozen=True)

    generated_at: str
    start: str = Field(alias="from")
    end: str = Field(alias="to")
    by: str
    greenrun_version: JsonValue = None
    config_hash: JsonValue = None
    total: NamedRow
    unattributed: NamedRow
    rows: list[NamedRow]


def compared(earlier: object, report: Report) -> ComparedReport:
    """Return a report with what moved since an earlier one, which is given as it was read from JSON.

    Raise ValueError when they are not of the same period, or the earlier one is no report.
    """
    try:
        before = Snapshot.model_validate(earlier)
        changes = moved(before, Snapshot.model_validate(report.document()))
    except ValidationError as exc:
        raise ValueError(_no_report(first_problem(exc))) from exc
    except (TypeError, OverflowError, RecursionError) as exc:  # a number, or a depth, that no report has
        raise ValueError(_no_report(str(exc))) from exc
    return combined(ComparedReport, report, compared_with=before.generated_at, moved=changes)


def moved(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return each figure of the total, the unattributed and the rows that changed.

    Raise ValueError when they are not of the same period. Rows are compared where both reports have the same sort.
    """
    if (before.start, before.end) != (after.start, after.end):
        raise ValueError(
            f"the earlier report is of {before.start} to {before.end} and this one of {after.start} to {after.end}; "
            "only reports of one period can be compared"
        )
    general = _general(before, after)
    return [line for where, old, new in _pairs(before, after) for line in _changes(where, old, new, general)]


def _no_report(why: str) -> str:
    return f"the earlier report is none that greenrun wrote: {why}"


def _pairs(before: Snapshot, after: Snapshot) -> Iterator[tuple[str, Document, Document]]:
    yield "total", before.total, after.total
    yield "unattributed", before.unattributed, after.unattributed
    if before.by == after.by:
        yield from _pairs_of_rows(before, after)


def _pairs_of_rows(before: Snapshot, after: Snapshot) -> Iterator[tuple[str, Document, Document]]:
    """Yield rows that are of the same, each as the later report calls it.

    Accounts have their number beside their name only where another had that name, too, in the period: they are the same
    however they are called.
    """
    rows = [*before.rows, *after.rows]
    is_by_account = after.by == "user" and all(row.get("uid") is not None for row in rows)  # which older releases lack
    key = _account if is_by_account else _group
    old, new = ({key(row): row for row in report.rows} for report in (before, after))
    for each in {**new, **old}:
        earlier, later = old.get(each, {}), new.get(each, {})
        if earlier and later:
            earlier = {**earlier, "group": later["group"]}
        yield f"{after.by} {_group(later or earlier)}", earlier, later


def _group(row: Document) -> str:
    return str(row["group"])


def _account(row: Document) -> str:
    number = f" (uid {row['uid']})"
    return _group(row).removesuffix(number) + number


def _changes(where: str, old: Document, new: Document, general: Sequence[str]) -> Iterator[Change]:
    was, came = dict(_leaves(old)), dict(_leaves(new))
    for field in {**came, **was}:
        if not _same(was.get(field), came.get(field)):
            why = _why(field, old, new, general)
            yield Change(where=where, field=field, before=was.get(field), after=came.get(field), why=why)


def _leaves(value: JsonValue, path: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Yield every figure by its path; a list of plain values is one leaf, and what is missing is None."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            name = item.get("hour", index) if isinstance(item, Mapping) else index
            yield from _leaves(item, f"{path}.{name}")
    else:
        yield path, None if value in ([], {}) else value


def _same(old: JsonValue, new: JsonValue) -> bool:
    if _is_number(old) and _is_number(new):
        return isclose(old, new, rel_tol=ROUNDING, abs_tol=1e-12)
    return old == new


def _is_number(value: JsonValue) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _general(before: Snapshot, after: Snapshot) -> list[str]:
    """Return the causes that may have moved any figure."""
    found = [SETTINGS] if before.config_hash != after.config_hash else []
    return [*found, NEWER] if before.greenrun_version != after.greenrun_version else found


def _why(field: str, old: Document, new: Document, general: Sequence[str]) -> str:
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


def _differ(old: Document, new: Document, fields: Sequence[str]) -> bool:
    return any(not _same(old.get(name), new.get(name)) for name in fields)


def _is_one(field: str, signs: Sequence[str]) -> bool:
    return any(sign in field for sign in signs)
