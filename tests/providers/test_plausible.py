"""What a source says is kept from everybody where it cannot be carbon intensity."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from greenrun.core.carbon.intensity import Basis, Forecast, Kind, Series, SeriesId, Slot
from greenrun.core.errors import ProviderGarbage
from greenrun.providers import open_provider
from greenrun.providers.plausible import Plausible
from greenrun.providers.settings import FileSettings

NOW = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Scripted:
    """Says these values of the hours to come, and those of the hours before."""

    name, label, attribution, web = "src", "", "", None
    refresh_every, settle_after, zones = HOUR, DAY, {"DE": ""}

    def __init__(self, ahead: Sequence[float], past: Sequence[float], basis: Basis | None = None) -> None:
        self.ahead, self.past, self.id = ahead, past, SeriesId(provider="src", zone="DE", basis=basis)

    def forecast(self, zone: str, now: datetime) -> Forecast:
        return Forecast(series=self._series(self.ahead, now, Kind.FORECAST), fetched_at=now)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        return self._series(self.past, end - len(self.past) * HOUR, Kind.MEASURED)

    def _series(self, values: Sequence[float], begin: datetime, kind: Kind) -> Series:
        slots = [Slot(begin + n * HOUR, begin + (n + 1) * HOUR, value, kind) for n, value in enumerate(values)]
        return Series.of(self.id, slots)


def history(provider: Plausible) -> Series:
    return provider.history("DE", NOW - DAY, NOW, NOW)


def test_few_measured_zeros_are_believed_only_of_a_source_that_has_something_to_say() -> None:
    source = Scripted([0.0] * 24, [0.0] * 2)
    provider = Plausible(source)
    assert list(history(provider).values) == [0.0, 0.0]
    with pytest.raises(ProviderGarbage, match="24 of 24 values are zeros, which no grid has for so long"):
        provider.forecast("DE", NOW)
    with pytest.raises(ProviderGarbage, match=r"2 of 2 values are zeros, as it says of the hours to come too$"):
        history(provider)
    source.ahead = [200.0] * 24
    provider.forecast("DE", NOW)
    assert list(history(provider).values) == [0.0, 0.0]
    assert provider.dropped == {"zeros to the end": 24}


@pytest.mark.parametrize(
    ("ahead", "basis", "told"),
    [
        ([0.0] * 7, None, "7 of 7 values are zeros, and it says nothing else of them"),
        ([0.0] * 11, Basis.DIRECT, "11 of 11 values are zeros, and it says nothing else of them"),
        ([0.0] * 12, Basis.DIRECT, "12 of 12 values are zeros, which no grid has for so long"),
        (
            [0.0] * 2,
            Basis.LIFECYCLE,
            "2 of 2 values are zeros, where no power is free of emissions over its life",
        ),
        ([0.0, 0.0, 1.0], Basis.LIFECYCLE, "3 of 3 values are no intensities in g/kWh"),
        ([9.0, 0.0, 1.0, 0.0], Basis.LIFECYCLE, "3 of 4 values are no intensities in g/kWh"),
    ],
)
def test_why_values_are_not_believed_is_true_of_them(ahead: list[float], basis: Basis | None, told: str) -> None:
    with pytest.raises(ProviderGarbage) as caught:
        Plausible(Scripted(ahead, [300.0], basis)).forecast("DE", NOW)
    assert told in str(caught.value)


def test_a_few_values_below_any_life_cycle_are_holes_and_counted() -> None:
    provider = Plausible(Scripted([300.0, 0.0, 310.0, 2.0, 320.0], [300.0], Basis.LIFECYCLE))
    assert list(provider.forecast("DE", NOW).series.values) == [300.0, 310.0, 320.0]
    assert provider.dropped == Counter({"too clean": 2})


def test_another_unit_is_refused_and_named() -> None:
    provider = Plausible(Scripted([0.3, 0.35, 0.4], [300.0], Basis.LIFECYCLE))
    with pytest.raises(ProviderGarbage, match="3 of 3 values are no intensities in g/kWh; their median is"):
        provider.forecast("DE", NOW)


def test_a_jump_to_zeros_that_stay_is_no_answer_for_anybody() -> None:
    with pytest.raises(ProviderGarbage, match="14 of 24 values are zeros"):
        history(Plausible(Scripted([200.0], [250.0] * 10 + [0.0] * 14)))


def test_a_file_of_zeros_is_neither_forecast_nor_measured(tmp_path: Path) -> None:
    rows = [f"{(NOW + n * HOUR).isoformat()},0" for n in range(-24, 24)]
    (tmp_path / "zero.csv").write_text("\n".join(["start,g_per_kwh", *rows]) + "\n")
    provider = open_provider("f", FileSettings(kind="file", path=tmp_path / "zero.csv"), lambda key: NOW)
    for ask in (lambda: provider.forecast("DE", NOW), lambda: provider.history("DE", NOW - DAY, NOW, NOW)):
        with pytest.raises(ProviderGarbage, match="zeros"):
            ask()
