"""`greenrun report` asks for the period that was named and writes the answer in the form that was asked for."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from greenrun.reports.exports.spreadsheet import as_csv
from greenrun.reports.model import json_schema
from greenrun.store import Store
from tests.charts.pages import Page
from tests.cli.conftest import Run
from tests.fake_api import FakeApi, problem
from tests.reports.build import END, NOW, T0, fill, reports_of


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("books") / "greenrun.db") as opened:
        fill(opened, 20)
        yield opened


def answer(store: Store, by: str) -> Any:
    return reports_of(store).report(T0, END, by, NOW).document()


def test_a_table_has_the_rows_the_total_and_the_notes(api: FakeApi, run: Run, store: Store) -> None:
    made = answer(store, "project")
    api.get("/v1/reports", made)
    ran = run("report")
    assert ran.code == 0
    for said in ("project 0", "unattributed", "total", "note: ", "failed or w", "Data: <NESO>"):
        assert said in ran.out


@pytest.mark.parametrize("form", ["csv", "json", "html", "boamps", "codecarbon", "sci"])
def test_every_form_can_be_written_to_a_file(api: FakeApi, run: Run, store: Store, form: str) -> None:
    made = reports_of(store).report(T0, END, "job", NOW)
    api.get("/v1/reports", as_csv(made).encode() if form == "csv" else made.document())
    ran = run("report", "--by", "job", "--format", form, "-o", "out")
    written = Path("out").read_text(encoding="utf-8")
    assert (ran.code, ran.out) == (0, "")
    if form in ("csv", "codecarbon"):
        assert len(list(csv.DictReader(written.splitlines(keepends=True)))) == (22 if form == "csv" else 20)
    elif form == "html":
        assert written.startswith("<!doctype html>")
        assert Page(written).asked == []
        assert "<script>alert" not in written
    else:
        assert json.loads(written)


def test_json_is_what_the_api_gave(api: FakeApi, run: Run, store: Store) -> None:
    made = answer(store, "project")
    api.get("/v1/reports", made)
    assert json.loads(run("report", "--json").out) == made


def test_a_date_is_its_beginning_in_utc(api: FakeApi, run: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    api.get("/v1/reports", answer(store, "zone"))
    run("report", "--from", "2026-10", "--to", "2026-11-02", "--by", "zone")
    assert dict(api.asked[0].query) == {
        "from": ["2026-10-01T00:00:00+00:00"], "to": ["2026-11-02T00:00:00+00:00"], "by": ["zone"],
        "rows": ["1000"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "words", [("--format", "pdf"), ("--by", "moon"), ("--by", "user", "--format", "sci"), ("--from", "2026-13")]
)
def test_what_it_does_not_know_is_refused_before_anything_is_asked(api: FakeApi, run: Run, words: Any) -> None:
    ran = run("report", *words)
    assert (ran.code, api.asked) == (2, [])
    assert words[-1] in ran.err


def test_csv_is_what_the_api_gave_and_asked_for_as_such(api: FakeApi, run: Run) -> None:
    api.get("/v1/reports", b"from,to\na,b\n")
    assert run("report", "--format", "csv").out == "from,to\na,b\n"
    assert api.asked[0].query == {"by": ["project"], "format": ["csv"]}


@pytest.mark.parametrize("form", ["csv", "json", "html"])
def test_a_report_that_is_refused_leaves_the_file_that_is_there(api: FakeApi, run: Run, form: str) -> None:
    Path("out").write_text("of before", encoding="utf-8")
    api.get("/v1/reports", problem(422, "no", "This period cannot be reported."), 422)
    ran = run("report", "--format", form, "-o", "out")
    assert (ran.code != 0, "cannot be reported" in ran.err) == (True, True)
    assert (Path("out").read_text(encoding="utf-8"), [path.name for path in Path().iterdir()]) == ("of before", ["out"])


def test_a_table_says_how_many_rows_it_leaves_out(api: FakeApi, run: Run, store: Store) -> None:
    api.get("/v1/reports", reports_of(store).report(T0, END, "job", NOW, most_rows=3).document())
    assert "17 more rows are in --format csv and json" in run("report", "--by", "job").out
    assert "17 more rows are in the CSV and JSON forms" in run("report", "--by", "job", "--format", "html").out
    assert [asked.query["rows"] for asked in api.asked] == [["1000"], ["500"]]


# what moved, and what is missing


def saved(made: dict[str, Any], name: str = "old.json") -> str:
    Path(name).write_text(json.dumps(made), encoding="utf-8")
    return name


def test_against_an_earlier_report_it_tells_what_moved_over_its_period(api: FakeApi, run: Run, store: Store) -> None:
    made = answer(store, "user")
    old = {**made, "total": {**made["total"], "emissions_location_g": 1.0}}
    api.get("/v1/reports", made)
    ran = run("report", "--against", saved(old))
    assert (ran.code, "1 figure moved" in ran.out, "emissions_location_g" in ran.out) == (0, True, True)
    assert dict(api.asked[0].query) == {"from": [made["from"]], "to": [made["to"]], "by": ["user"]}
    (line,) = json.loads(run("report", "--against", "old.json", "--json").out)["moved"]
    assert (line["where"], line["before"], line["after"]) == ("total", 1.0, made["total"]["emissions_location_g"])


def test_reports_of_different_periods_are_not_compared(api: FakeApi, run: Run, store: Store) -> None:
    made = answer(store, "user")
    api.get("/v1/reports", made)
    ran = run("report", "--from", "2026-09", "--against", saved({**made, "from": "2026-09-01T00:00:00Z"}))
    assert (ran.code, "only reports of one period" in ran.err) == (2, True)


@pytest.mark.parametrize("text", ["{ torn", "[]", '{"from": 1}'])
def test_what_is_no_report_is_refused_before_anything_is_asked(api: FakeApi, run: Run, text: str) -> None:
    Path("old.json").write_text(text, encoding="utf-8")
    ran = run("report", "--against", "old.json")
    assert (ran.code, api.asked, "--against" in ran.err) == (2, [], True)


HOSTILE = ({"total": []}, {"rows": 7}, {"rows": [{}]}, {"rows": ["x"]}, {"total": {"group": 1, "cost": 10**400}})


@pytest.mark.parametrize("change", HOSTILE)
@pytest.mark.parametrize("form", ["table", "html"])
def test_a_report_that_was_changed_into_none_is_refused(
    api: FakeApi, run: Run, store: Store, change: Any, form: str
) -> None:
    made = answer(store, "user")
    api.get("/v1/reports", {**made, "total": {**made["total"], "cost": 1.5}})
    ran = run("report", "--against", saved({**made, **change}), "--format", form)
    assert (ran.code, "none that greenrun wrote" in ran.err) == (2, True)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"from": [], "to": [], "by": {}}'])
def test_a_file_that_is_deep_or_odd_is_refused_before_anything_is_asked(api: FakeApi, run: Run, text: str) -> None:
    Path("old.json").write_text(text, encoding="utf-8")
    ran = run("report", "--against", "old.json")
    assert (ran.code, api.asked, "--against" in ran.err) == (2, [], True)


@pytest.mark.parametrize("odd", ["<b>x</b>", [1], True, 10**200, float("nan"), None])
@pytest.mark.parametrize("form", ["table", "html", "csv"])
def test_figures_of_an_earlier_report_may_be_anything(
    api: FakeApi, run: Run, store: Store, odd: Any, form: str
) -> None:
    made = answer(store, "user")
    api.get("/v1/reports", made)
    ran = run(
        "report", "--against", saved({**made, "total": {**made["total"], "it_energy_kwh": odd}}), "--format", form
    )
    assert ran.code == 0
    assert "<b>" not in ran.out or form == "table"


def test_how_busy_gpus_were_and_what_work_took_is_shown_where_it_is_known(api: FakeApi, run: Run, store: Store) -> None:
    made = answer(store, "user")
    api.get("/v1/reports", made)
    assert "PER WORK" not in run("report").out
    known = {"gpu_utilization_avg": 0.5, "gpu_utilization_coverage": 1.0, "work": 1e4, "work_unit": "samples"}
    total = {**made["total"], **known, "energy_per_work_j": 2500.0, "cost": -0.05, "currency": "EUR"}
    api.get("/v1/reports", {**made, "total": total})
    table, page = run("report").out, run("report", "--format", "html").out
    for said in ("50 %", "2.5 kJ/samples"):
        assert said in table
        assert said in page
    assert ("10,000 samples" in page, "-0.05 EUR" in table) == (True, True)


def test_waste_of_which_nothing_is_known_is_not_nothing(api: FakeApi, run: Run, store: Store) -> None:
    made = answer(store, "user")
    made["waste"] = [{**row, "it_energy_kwh": None} for row in made["waste"]]
    api.get("/v1/reports", made)
    assert "were lost: 0" not in run("report").out
    assert "They used unknown," in run("report", "--format", "html").out


def test_what_boamps_requires_and_nobody_told_is_named_beside_it(api: FakeApi, run: Run, store: Store) -> None:
    api.get("/v1/reports", answer(store, "job"))
    ran = run("report", "--format", "boamps")
    assert "task.taskStage" in ran.err
    assert all("task.taskStage" in row["missing"] for row in json.loads(ran.out))


# the schema


def test_the_schema_of_a_report_needs_no_daemon(api: FakeApi, run: Run) -> None:
    ran = run("report", "--schema")
    assert (ran.code, api.asked) == (0, [])
    assert json.loads(ran.out) == json_schema()
    assert (run("report", "--schema", "-o", "schema.json").out, Path("schema.json").read_text(encoding="utf-8")) == (
        "",
        ran.out,
    )


def test_an_answer_that_is_no_report_of_this_release_is_told_with_the_field(
    api: FakeApi, run: Run, store: Store
) -> None:
    made = answer(store, "user")
    api.get("/v1/reports", {**made, "total": {**made["total"], "it_energy_kwh": "much"}})
    ran = run("report")
    assert (ran.code, "total.it_energy_kwh" in ran.err, "restart the daemon" in ran.err) == (1, True, True)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (
            ["--from", "yesterday", "--to", "today"],
            {"from": "2026-11-29T05:00:00+00:00", "to": "2026-11-30T05:00:00+00:00"},
        ),
        (["--from", "7d"], {"from": "2026-11-23T12:15:00+00:00"}),
        (["--from", "last week"], {"from": "2026-11-23T05:00:00+00:00"}),
        (["--from", "2026-11-02"], {"from": "2026-11-02T00:00:00+00:00"}),
    ],
)
def test_a_period_is_said_by_the_local_calendar(
    api: FakeApi, run: Run, monkeypatch: pytest.MonkeyPatch, words: list[str], asked: dict[str, str]
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    monkeypatch.setattr("greenrun.cli.report.utc_now", lambda: datetime(2026, 11, 30, 12, 15, tzinfo=UTC))
    run("report", *words)
    query = {name: value for name, (value,) in api.asked[0].query.items() if name != "by"}
    assert {name: query.get(name) for name in asked} == asked


def test_all_wrong_options_of_a_report_are_told_at_once(api: FakeApi, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "none" / "report.html"
    ran = run("report", "--from", "2026-13", "--to", "someday", "--by", "hue", "--format", "pdf", "-o", str(file))
    assert ran.code == 2
    options = [line.split(":")[0].strip() for line in ran.err.splitlines()]
    assert options == ["error", "--from", "--to", "--by", "--format", "--output"]
    assert "'2026-13' is not a date; write it like 2026-11" in ran.err
    assert f"there is no folder {file.parent}" in ran.err
    assert api.asked == []
