"""[reports] and [uncertainty] are read, their mistakes told, and handed to what makes reports."""

from datetime import timedelta
from pathlib import Path

import pytest

from greenrun.config import Config, load_config
from greenrun.core.errors import ConfigError
from greenrun.daemon.wiring import open_monthly, report_settings
from greenrun.reports.build import Reports
from greenrun.reports.uncertainty import Widths
from greenrun.store import Store


def load(tmp_path: Path, text: str, **environ: str) -> Config:
    file = tmp_path / "greenrun.toml"
    file.write_text(text, encoding="utf-8")
    return load_config(file, environ)


def test_reports_are_written_where_a_folder_is_named_and_only_then(tmp_path: Path) -> None:
    with Store(tmp_path / "greenrun.db") as store:
        config = load(tmp_path, '[reports]\nfolder = "of us"\nmonthly = true\nformats = "csv"\nsettled_by = "5d"')
        reports = Reports(store.archive, lambda: (), report_settings(config, (), None))
        written = open_monthly(config, reports)
        assert written is not None
        assert written._settings.folder == tmp_path / "of us"
        assert (written._settings.formats, written._settings.settled_by) == (("csv",), timedelta(days=5))
        assert open_monthly(Config(), reports) is None


def test_the_half_widths_are_those_that_are_set(tmp_path: Path) -> None:
    config = load(tmp_path, "[uncertainty]\nmeasured = 0.02", GREENRUN_UNCERTAINTY__SPARSE="0.3")
    assert report_settings(config, (), None).widths == Widths(measured=0.02, sparse=0.3)
    assert report_settings(Config(), (), None).widths == Widths()


def test_a_report_tells_where_it_was_made(tmp_path: Path) -> None:
    place = report_settings(load(tmp_path, '[reports]\nsite = "cellar"'), (), None).place
    assert (place.site, bool(place.host)) == ("cellar", True)
    assert report_settings(Config(), (), None).place.site is None


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        ("[reports]\nmonthly = true", "reports", "need a folder"),
        ('[reports]\nformats = "pdf"', "reports.formats", "html"),
        ("[uncertainty]\npue = 7", "uncertainty.pue", "1"),
        ('[reports.boamps]\ninfraType = "cellar"', "reports.boamps", "must be one of publicCloud"),
        ('[reports.boamps]\nwatts = "3"', "reports.boamps", "no field of BoAmps"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, text: str, field: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    (problem,) = caught.value.problems
    assert problem.field.startswith(field)
    assert why in problem.message
