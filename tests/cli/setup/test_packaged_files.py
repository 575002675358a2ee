"""The files that come with greenrun are had from the command line, and what a user has there is never overwritten."""

import json
import tomllib
from pathlib import Path

from greenrun.packaged import DASHBOARDS, EXAMPLE, SYSTEM_FILES, UNITS, path_of
from tests.cli.conftest import Run
from tests.documents import ROOT

PACKAGED = path_of(".")
IN_PROMETHEUS_TESTS = "config/prometheus/tests"
# those of a system are written by `init --system`
GIVEN = {EXAMPLE, *SYSTEM_FILES, *(each.place for each in (*UNITS, *DASHBOARDS))}


def test_every_packaged_file_is_given_by_some_command() -> None:
    """But for the cases by which promtool tests the rules."""
    there = {str(path.relative_to(PACKAGED)) for path in PACKAGED.rglob("*") if path.is_file()}
    assert {name for name in there if IN_PROMETHEUS_TESTS not in name and not name.endswith((".py", ".pyc"))} == GIVEN


def test_every_packaged_file_is_in_the_wheel() -> None:
    """By the globs of pyproject.toml; the tests run from a checkout, where nobody would miss it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    globs = project["tool"]["setuptools"]["package-data"]["greenrun"]
    packed = {path.relative_to(PACKAGED.resolve()) for glob in globs for path in (ROOT / "greenrun").glob(glob)
              if path.is_relative_to(PACKAGED.resolve())}  # fmt: skip
    assert {str(path) for path in packed} == GIVEN


def test_the_example_is_printed_as_it_is_and_is_toml(run: Run) -> None:
    ran = run("config", "example")
    assert (ran.code, ran.out) == (0, path_of(EXAMPLE).read_text(encoding="utf-8"))
    assert "devices" in tomllib.loads(ran.out)


def test_files_are_listed_with_where_they_are_and_printed_by_name(run: Run) -> None:
    listed = json.loads(run("config", "dashboards", "--json").out)
    assert [row["name"] for row in listed] == ["rules.yml", "alerts.yml", "operations.json", "sustainability.json"]
    assert run("config", "dashboards", "alerts.yml").out == Path(listed[1]["path"]).read_text(encoding="utf-8")
    assert "greenrun.service" in run("config", "units").out
    assert "KillMode=process" in run("config", "units", "greenrun.service").out


def test_a_name_that_is_none_of_them_is_told_which_there_are(run: Run) -> None:
    ran = run("config", "units", "greenrun.timer")
    assert (ran.code, ran.out) == (3, "")
    assert "there is no 'greenrun.timer' among them; they are greenrun.service, greenrun-rapl.conf" in ran.err


def test_they_are_written_into_a_folder_again_and_again(run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        ran = run("config", "dashboards", "--output", "here/rules")
        assert (ran.code, ran.out.splitlines()) == (0, [f"here/rules/{each.name}" for each in DASHBOARDS])
    assert (tmp_path / "here/rules/rules.yml").read_text(encoding="utf-8") == DASHBOARDS[0].text


def test_what_a_user_has_changed_is_not_overwritten_and_nothing_is_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "greenrun-rapl.conf").write_text("mine", encoding="utf-8")
    (tmp_path / "greenrun.service").mkdir()
    ran = run("config", "units", "--output", str(tmp_path))
    assert (ran.code, ran.out) == (2, "")
    assert "greenrun.service" in ran.err
    assert "greenrun-rapl.conf would be overwritten, so nothing was written" in ran.err
    assert (tmp_path / "greenrun-rapl.conf").read_text(encoding="utf-8") == "mine"
