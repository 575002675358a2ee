"""What moved between two reports is named: all of it, once, and nothing that did not."""

import copy
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.reports.movement import BOOKED, NEWER, PRICED, SETTINGS, SETTLED, UNTOLD, Snapshot, compared
from greenrun.reports.movement import moved as changes
from greenrun.store import Store
from tests.reports.build import END, NOW, T0, fill, reports_of, settle

NAMES = st.sampled_from(["it_energy_kwh", "emissions_location_g", "runs", "flags", "tags", "slices", "outcome"])
NUMBERS = st.none() | st.integers(-5, 5) | st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
LEAVES = NUMBERS | st.lists(st.sampled_from("abc"), max_size=3) | st.sampled_from(["x", "y"])
HOURS = st.lists(NUMBERS, max_size=3).map(lambda rows: [{"hour": str(n), "kwh": row} for n, row in enumerate(rows)])
ROWS = st.dictionaries(NAMES, LEAVES | HOURS | st.dictionaries(st.sampled_from("pq"), NUMBERS, max_size=2), max_size=6)


NOTHING: dict[str, Any] = {
    "generated_at": "then", "from": "a", "to": "b", "by": "project", "greenrun_version": "1",
    "total": {"group": "total"}, "unattributed": {"group": "nobody"}, "rows": [],
}  # fmt: skip


def moved(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """What changed between two documents."""
    return [dict(row) for row in changes(Snapshot.model_validate(before), Snapshot.model_validate(after))]


@st.composite
def reports(draw: st.DrawFn) -> dict[str, Any]:
    groups = draw(st.lists(st.sampled_from(["one", "two", "three"]), unique=True))
    return {
        **NOTHING, "total": {**draw(ROWS), "group": "total"}, "unattributed": {**draw(ROWS), "group": "nobody"},
        "rows": [{**draw(ROWS), "group": name} for name in groups],
    }  # fmt: skip


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every plain value in a structure by its path, written apart from the code that is tested."""
    if isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for row in value:
            yield from leaves(row, (*path, row["hour"]))
    else:
        yield path, value if value != [] else None


def told(report: dict[str, Any]) -> dict[tuple[str, str], Any]:
    rows = [("total", report["total"]), ("unattributed", report["unattributed"])]
    rows += [(f"project {row['group']}", row) for row in report["rows"]]
    found = {(where, ".".join(path)): value for where, row in rows for path, value in leaves(row)}
    return {key: value for key, value in found.items() if value not in (None, {})}


@given(reports())
def test_between_equal_reports_nothing_moved(report: dict[str, Any]) -> None:
    assert moved(report, copy.deepcopy(report)) == []


@given(reports(), reports())
def test_every_leaf_that_changed_is_named_once_with_both_values(before: Any, after: Any) -> None:
    was, came = told(before), told(after)
    changed = {key: (was.get(key), came.get(key)) for key in was.keys() | came.keys() if was.get(key) != came.get(key)}
    lines = moved(before, after)
    assert {(row["where"], row["field"]): (row["before"], row["after"]) for row in lines} == changed
    assert len(lines) == len(changed)
    assert all(row["why"] for row in lines)


@given(reports(), reports())
def test_told_the_other_way_round_the_same_has_moved(before: Any, after: Any) -> None:
    forth = {(row["where"], row["field"], str(row["before"]), str(row["after"])) for row in moved(before, after)}
    back = {(row["where"], row["field"], str(row["after"]), str(row["before"])) for row in moved(after, before)}
    assert forth == back


def by_user(*rows: tuple[str, int | None, float]) -> dict[str, Any]:
    listed = [{"group": name, "uid": uid, "it_energy_kwh": kwh} for name, uid, kwh in rows]
    return {**NOTHING, "by": "user", "rows": listed}


def test_an_account_that_is_called_otherwise_since_another_has_its_name_is_the_same() -> None:
    before = by_user(("ada", 1000, 1.0), ("bob", 1002, 3.0))
    after = by_user(("ada (uid 1000)", 1000, 1.0), ("ada (uid 1001)", 1001, 2.0), ("bob", 1002, 3.5))
    forth, back = moved(before, after), moved(after, before)
    of_ada = {"group", "uid", "it_energy_kwh"}
    assert {(row["where"], row["field"]) for row in forth} == {
        *(("user ada (uid 1001)", field) for field in of_ada), ("user bob", "it_energy_kwh"),
    }  # fmt: skip
    assert {row["where"] for row in back} == {"user ada (uid 1001)", "user bob"}


def test_an_account_that_was_renamed_has_a_row_for_each_name() -> None:
    one, other = by_user(("ada", 1000, 1.0), ("ada2", 1000, 2.0)), by_user(("ada", 1000, 1.0), ("ada2", 1000, 2.5))
    assert [(row["where"], row["before"], row["after"]) for row in moved(one, other)] == [("user ada2", 2.0, 2.5)]


def test_rows_of_a_release_that_told_no_numbers_are_matched_by_name() -> None:
    lines = moved(by_user(("ada", None, 1.0)), by_user(("ada", 1000, 1.5)))
    assert {(row["where"], row["field"]) for row in lines} == {("user ada", "uid"), ("user ada", "it_energy_kwh")}


def test_what_another_order_of_adding_up_changes_has_not_moved() -> None:
    one, other = ({**NOTHING, "total": {"group": "total", "x": x}} for x in (0.1 + 0.2, 0.3))
    assert moved(one, other) == []


def test_reports_of_different_periods_are_not_compared() -> None:
    with pytest.raises(ValueError, match="only reports of one period"):
        moved(NOTHING, {**NOTHING, "to": "c"})


# why


def lines(**changed: Any) -> dict[str, str]:
    """Why each field of the total moved, of a report that was settled to a half."""
    total = {"group": "total", "it_energy_kwh": 1.0, "emissions_location_g": 5.0, "settled_ratio": 0.5}
    report = NOTHING
    new = {"greenrun_version": "1"} | {
        key: value for key, value in changed.items() if key in ("greenrun_version", "config_hash")
    }
    after = {**report, **new, "total": {**total, **{k: v for k, v in changed.items() if k not in new}}}
    return {row["field"]: row["why"] for row in moved({**report, "total": total}, after)}


def test_the_cause_is_told() -> None:
    assert lines(settled_ratio=1.0, emissions_location_g=6.0) == dict.fromkeys(
        ("settled_ratio", "emissions_location_g"), SETTLED
    )
    assert lines(it_energy_kwh=2.0, emissions_location_g=6.0) == dict.fromkeys(
        ("it_energy_kwh", "emissions_location_g"), BOOKED
    )
    assert lines(emissions_location_g=6.0, config_hash="x", greenrun_version="2") == {
        "emissions_location_g": f"{SETTINGS}; {NEWER}"
    }
    assert lines(emissions_location_g=6.0) == {"emissions_location_g": UNTOLD}


def test_what_measured_intensity_does_not_decide_has_another_cause() -> None:
    told = lines(settled_ratio=1.0, cost=7.0, cost_missing_kwh=0.5, water_l=3.0, emissions_market_g=8.0)
    assert (told["cost"], told["water_l"], told["emissions_market_g"]) == (PRICED, UNTOLD, UNTOLD)


def test_a_report_that_settles_says_so_of_what_moved(tmp_path: Path) -> None:
    with Store(tmp_path / "greenrun.db") as store:
        fill(store, 12, settled=0.5)
        before = reports_of(store).report(T0, END, "job", NOW)
        settle(store)
        after = reports_of(store).report(T0, END, "job", NOW + timedelta(days=1))
    lines = compared(before.document(), after).moved
    assert {"emissions_settled_g", "settled_ratio"} <= {row.field for row in lines if row.where == "total"}
    assert not [row for row in lines if "it_energy_kwh" in row.field]
    assert all(SETTLED in row.why for row in lines if row.where == "total")
