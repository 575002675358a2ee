"""The provider contract, run over the file provider in each of its forms."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.providers.contract import Case, ProviderContract
from tests.providers.traces import BEGIN, HALF_HOUR, WALL, opened, real, replay, write, write_issued

VALUES = [100.0 + i % 48 for i in range(400)]


def plain(folder: Path) -> Case:
    """A file whose instants are meant as they are."""
    path = write(folder / "plain.csv", VALUES)
    return Case(provider=opened(path, zone="GB"), zone="GB", now=BEGIN + timedelta(days=3, minutes=17))


def with_hole(folder: Path) -> Case:
    """A file with a hole that its owner keeps."""
    path = write(folder / "hole.csv", VALUES, skip=(150, 151))
    holes = [(BEGIN + 150 * HALF_HOUR, BEGIN + 152 * HALF_HOUR)]
    now = BEGIN + timedelta(days=3)
    return Case(provider=opened(path, zone="GB", holes="keep"), zone="GB", now=now, holes=holes)


def in_hole(folder: Path) -> Case:
    """The same, while the hole is now."""
    path = write(folder / "hole.csv", VALUES, skip=(150, 151))
    now = BEGIN + 151 * HALF_HOUR
    return Case(provider=opened(path, zone="GB", holes="keep"), zone="GB", now=now, covers_now=False)


def replayed(folder: Path) -> Case:
    """A replay at half an hour a second, and one that differs beyond its horizon."""
    now = WALL + timedelta(seconds=7.4)
    known = 7 + 96
    other = [*VALUES[:known], *(value + 1 for value in VALUES[known:])]
    return Case(
        provider=opened(write(folder / "a.csv", VALUES), replay=replay(), zone="GB"),
        beyond=opened(write(folder / "b.csv", other), replay=replay(), zone="GB"),
        zone="GB",
        now=now,
    )


def replayed_any_zone(folder: Path) -> Case:
    """A replay at an odd speed that serves whichever zone it is asked for."""
    provider = opened(write(folder / "a.csv", VALUES), replay=replay(speed=7.3))
    return Case(provider=provider, zone="FR", now=WALL + timedelta(hours=1), unknown_zone=None)


def issued(folder: Path) -> Case:
    """Issued forecasts, and others that differ only in a later issue."""
    first, second, third = BEGIN, BEGIN + timedelta(hours=6), BEGIN + timedelta(hours=12)
    issues = {first: VALUES[:96], second: VALUES[10:106]}
    return Case(
        provider=opened(write_issued(folder / "a.csv", {**issues, third: VALUES[:96]}), zone="GB"),
        beyond=opened(write_issued(folder / "b.csv", {**issues, third: VALUES[1:97]}), zone="GB"),
        zone="GB",
        now=BEGIN + timedelta(hours=8, minutes=1),
        has_history=False,
    )


def issued_replayed(folder: Path) -> Case:
    """Issued forecasts on the wall clock."""
    issues = {BEGIN: VALUES[:96], BEGIN + timedelta(hours=6): VALUES[10:106]}
    provider = opened(write_issued(folder / "a.csv", issues), replay=replay(), zone="GB")
    return Case(provider=provider, zone="GB", now=WALL + timedelta(seconds=13.5), has_history=False)


def real_trace(folder: Path) -> Case:
    """A real half-hourly year, replayed."""
    provider = opened(real("GB_2020_30min.csv"), replay=replay(), zone="GB")
    return Case(provider=provider, zone="GB", now=WALL + timedelta(seconds=1000))


def real_issued(folder: Path) -> Case:
    """Real forecasts as they were issued."""
    path = real("GB_2023-03_issued_forecasts.csv")
    now = BEGIN.replace(year=2023, month=3, day=15, hour=13)
    return Case(provider=opened(path, zone="GB", holes="keep"), zone="GB", now=now, has_history=False)


FORMS = [plain, with_hole, in_hole, replayed, replayed_any_zone, issued, issued_replayed, real_trace, real_issued]


class TestFileProvider(ProviderContract):
    """The file provider keeps every promise, in every form."""

    @pytest.fixture(params=FORMS, ids=lambda form: form.__name__)
    def case(self, request: pytest.FixtureRequest, tmp_path: Path) -> Case:
        """One form of the file provider."""
        made: Case = request.param(tmp_path)
        return made
