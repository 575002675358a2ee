"""The Electricity Maps portal's CSV files are read as they are, in both ages of their header, and by what they say."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from greenrun.core.carbon.intensity import Accounting, Basis, Kind, Series
from greenrun.core.errors import ProviderGarbage, ProviderRefused
from greenrun.providers import Provider
from tests.providers.contract import Case, ProviderContract
from tests.providers.traces import opened

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOW = BEGIN + 30 * HOUR
NEW = (
    "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct),"
    "Carbon intensity gCO₂eq/kWh (Life cycle),Carbon-free energy percentage (CFE%),Renewable energy percentage (RE%),"
    "Data source,Data estimated,Data estimation method"
)
OLD = (
    "Datetime (UTC),Country,Zone Name,Zone Id,Carbon Intensity gCO₂eq/kWh (direct),"
    "Carbon Intensity gCO₂eq/kWh (LCA),Low Carbon Percentage,Renewable Percentage,Data Source,Data Estimated,"
    "Data Estimation Method"
)
PLAIN = NEW.replace("₂", "2")


def row(hour: int, *, zone: str = "DE", estimated: str = "false", lifecycle: object = None) -> str:
    """A made-up row."""
    value = 100 + hour if lifecycle is None else lifecycle
    at = BEGIN + hour * HOUR
    return f"{at:%Y-%m-%d %H:%M:%S},Land,Land,{zone},{50 + hour},{value},60.1,50.2,made up,{estimated},"


def written(folder: Path, *rows: str, header: str = NEW) -> Path:
    path = folder / "portal.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def portal(folder: Path, header: str = NEW, **settings: object) -> Provider:
    """Two days, of which the twentieth hour was estimated."""
    rows = [row(hour, estimated="true" if hour == 20 else "false") for hour in range(48)]
    return opened(written(folder, *rows, header=header), **settings)


def measured(provider: Provider) -> Series:
    return provider.history("DE", BEGIN, NOW, NOW)


class TestPortalFile(ProviderContract):
    """Such a file keeps every promise of a provider."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> Case:
        """A file of two days."""
        return Case(provider=portal(tmp_path), zone="DE", now=NOW)


@pytest.mark.parametrize("header", [NEW, OLD, PLAIN], ids=["new", "old", "plain 2"])
@pytest.mark.parametrize(("basis", "first"), [(None, 100.0), ("lifecycle", 100.0), ("direct", 50.0)])
def test_the_basis_chooses_the_column_and_is_stated(
    tmp_path: Path, header: str, basis: str | None, first: float
) -> None:
    settings = {"basis": basis} if basis else {}
    series = measured(portal(tmp_path, header, **settings))
    assert (series.start, series.values[0]) == (BEGIN, first)
    assert (series.id.basis, series.id.accounting) == (Basis(basis or "lifecycle"), Accounting.CONSUMPTION)


def test_what_it_calls_estimated_is_never_called_measured(tmp_path: Path) -> None:
    provider = portal(tmp_path)
    series = measured(provider)
    assert series.holes() == [(BEGIN + 20 * HOUR, BEGIN + 21 * HOUR)]
    ahead = provider.forecast("DE", BEGIN + 19 * HOUR).series
    assert ahead.kinds[:3] == (Kind.FORECAST, Kind.ESTIMATED, Kind.FORECAST)


def test_it_serves_the_zone_that_it_names(tmp_path: Path) -> None:
    provider = portal(tmp_path)
    assert list(provider.zones) == ["DE"]
    with pytest.raises(ProviderRefused, match="serves zone 'DE', not 'FR'"):
        provider.forecast("FR", NOW)


def test_rows_of_another_zone_are_told(tmp_path: Path) -> None:
    path = written(tmp_path, row(0), row(1), row(2, zone="FR"))
    with pytest.raises(ProviderGarbage, match=r"line 4: it is of zone 'FR', not 'DE'; give each zone a file"):
        opened(path)
    with pytest.raises(ProviderGarbage, match=r"(?s)line 2: it is of zone 'DE', not 'GB'.*line 4: .* 'FR'"):
        opened(path, zone="GB")


def test_all_its_problems_are_told_at_once(tmp_path: Path) -> None:
    rows = [row(0), row(1, lifecycle=""), row(2, lifecycle="-3"), "yesterday" + row(3), row(5)[:40]]
    with pytest.raises(ProviderGarbage) as caught:
        opened(written(tmp_path, *rows))
    told = str(caught.value)
    for part in ("line 3: its value is empty", "line 4: -3 is not", "line 5: 'yesterday", "line 6: it has 7 columns"):
        assert part in told


def test_a_column_that_is_not_there_is_told_with_the_one_that_is(tmp_path: Path) -> None:
    header = NEW.replace("Carbon intensity gCO₂eq/kWh (Life cycle)", "Something")
    with pytest.raises(ProviderGarbage, match='it has no lifecycle intensities; set basis = "direct"'):
        portal(tmp_path, header)


def test_instants_with_a_zone_of_time_keep_it(tmp_path: Path) -> None:
    rows = [row(hour).replace(":00,", ":00+00:00,", 1) for hour in range(48)]
    assert measured(opened(written(tmp_path, *rows))).start == BEGIN


def test_a_file_that_changes_into_one_of_another_zone_is_that_zone_s(tmp_path: Path) -> None:
    provider = portal(tmp_path)
    written(tmp_path, *(row(hour, zone="FR") for hour in range(40)))
    assert provider.forecast("FR", NOW).series.id.zone == "FR"
    with pytest.raises(ProviderRefused, match="not 'DE'"):
        provider.forecast("DE", NOW)
