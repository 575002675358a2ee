"""What the file provider does beyond the contract: replays, files that change, real traces."""

import os
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Accounting, Basis, Kind, Signal
from greenrun.core.errors import ConfigError, ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.providers import open_provider
from greenrun.providers.settings import FileSettings, ProviderSettings
from tests.providers.traces import BEGIN, HALF_HOUR, WALL, anchored, opened, real, replay, write, write_issued

SECOND = timedelta(seconds=1)
VALUES = [float(i) for i in range(300)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A trace whose values are the index of their slot."""
    return write(tmp_path / "trace.csv", VALUES)


def test_a_replay_puts_its_instant_at_the_anchor_and_runs_at_its_speed(path: Path) -> None:
    """Half an hour of the trace is a second of the wall clock, from `at` at the anchor."""
    provider = opened(path, replay=replay(at=BEGIN + 10 * HALF_HOUR))
    series = provider.forecast("GB", WALL + 3.5 * SECOND).series
    assert series.slots[0].start == WALL + 3 * SECOND
    assert series.slots[0].end == WALL + 4 * SECOND
    assert series.at(WALL + 3.5 * SECOND) == 13.0


def test_a_replay_shows_its_horizon_and_no_more(path: Path) -> None:
    """From the start of the current slot on, `horizon` of trace time is known."""
    series = opened(path, replay=replay(horizon=timedelta(hours=5))).forecast("GB", WALL + 0.5 * SECOND).series
    assert series.values.tolist() == VALUES[:10]


def test_a_replayed_forecast_is_the_same_all_through_a_slot(path: Path) -> None:
    """It is issued at the start of the current slot, so that it is stored once per slot."""
    provider = opened(path, replay=replay())
    early, late, next_one = (provider.forecast("GB", WALL + at * SECOND) for at in (5, 5.999999, 6))
    assert early.issued_at == late.issued_at == WALL + 5 * SECOND
    assert early.series.slots == late.series.slots
    assert next_one.issued_at == WALL + 6 * SECOND


def test_a_replayed_value_is_published_when_its_slot_ends_and_is_final_then(path: Path) -> None:
    """History grows slot by slot, to the microsecond, and nothing waits for it to settle."""
    provider = opened(path, replay=replay())
    edge = WALL + 5 * SECOND
    before, after = (provider.history("GB", WALL, edge, now).values for now in (edge - timedelta(microseconds=1), edge))
    assert (before.tolist(), after.tolist()) == (VALUES[:4], VALUES[:5])
    assert provider.settle_after == timedelta(0)


def test_a_replay_ends_with_its_trace(path: Path) -> None:
    """Towards the end the forecast gets shorter, after it there is none, and the sentence says so."""
    provider = opened(path, replay=replay())
    assert provider.forecast("GB", WALL + 298.5 * SECOND).series.values.tolist() == VALUES[298:]
    with pytest.raises(ProviderUnavailable, match="ended at 2026-11-23T09:05:00"):
        provider.forecast("GB", WALL + 300 * SECOND)


def test_a_replay_that_begins_before_its_trace_waits_for_it(path: Path) -> None:
    """Slots that are within the horizon are told, and until then the sentence says when they come."""
    provider = opened(path, replay=replay(at=BEGIN - timedelta(hours=72)))
    with pytest.raises(ProviderUnavailable, match="no slot before"):
        provider.forecast("GB", WALL)
    assert provider.forecast("GB", WALL + 49.5 * SECOND).series.values.tolist() == [0.0]


def test_a_hole_does_not_shift_what_a_replay_knows(tmp_path: Path) -> None:
    """In a hole the horizon counts from the slot that would be there."""
    path = write(tmp_path / "hole.csv", VALUES, skip=(4, 5, 6))
    provider = opened(path, holes="keep", replay=replay(horizon=timedelta(hours=2)))
    forecast = provider.forecast("GB", WALL + 5.5 * SECOND)
    assert (forecast.series.values.tolist(), forecast.issued_at) == ([7.0, 8.0], WALL + 5 * SECOND)


@given(
    speed=st.floats(0.1, 1e6),
    at_us=st.integers(0, 10**12),
    anchor_us=st.integers(0, 10**15),
    share=st.floats(0, 1, exclude_max=True),
)
def test_replayed_slots_tile_exactly_and_are_as_long_as_the_speed_says(
    tmp_path_factory: pytest.TempPathFactory, speed: float, at_us: int, anchor_us: int, share: float
) -> None:
    """At any speed and anchor, each slot begins where the one before ends and is within a microsecond of its length."""
    path = tmp_path_factory.getbasetemp() / "tile.csv"
    if not path.exists():
        write(path, VALUES)
    anchor = datetime(1990, 1, 1, tzinfo=UTC) + timedelta(microseconds=anchor_us)
    at = BEGIN + timedelta(microseconds=at_us % 10**10)
    provider = opened(path, anchor, replay=replay(at=at, speed=speed))
    slots = provider.forecast("GB", anchor + share * HALF_HOUR / speed).series.slots
    assert all(before.end == after.start for before, after in pairwise(slots))
    length_us = HALF_HOUR / timedelta(microseconds=1) / speed
    assert all(abs((slot.end - slot.start) / timedelta(microseconds=1) - length_us) <= 1.01 for slot in slots)


def test_a_restart_does_not_rewind_a_replay(path: Path) -> None:
    """The anchor is asked for by a key that is the same for the same replay, and differs for another one."""
    keys = []

    def anchor(key: str) -> datetime:
        keys.append(key)
        return WALL

    for speed in (1800, 1800, 900):
        open_provider("trace", FileSettings(path=path, replay=replay(speed=speed)), anchor)
    assert keys[0] == keys[1] != keys[2]


def test_how_often_to_ask_follows_the_slots_of_a_replay(path: Path) -> None:
    """A replay is asked once per slot and at most once a second, a plain file every five minutes."""
    paces = [opened(path, replay=replay(speed=speed)).refresh_every for speed in (900, 1800, 18_000)]
    assert paces == [2 * SECOND, SECOND, SECOND]
    assert opened(path).refresh_every == timedelta(minutes=5)


def test_a_replay_too_fast_to_follow_is_refused(path: Path) -> None:
    """A slot lasts a millisecond at least."""
    short = write(path.with_name("short.csv"), [])
    short.write_text("start,g_per_kwh\n2020-06-01T00:00:00Z,1\n2020-06-01T00:00:01Z,1\n")
    with pytest.raises(ProviderRefused, match="replay it slower"):
        opened(short, replay=replay(speed=10_000))


def test_a_plain_file_is_taken_at_its_word(path: Path) -> None:
    """Its instants are meant as they are, to its end; it does not tell when it was issued, and settles as passed in."""
    now = BEGIN + timedelta(hours=1, minutes=10)
    provider = open_provider("trace", FileSettings(path=path), anchored(), settle_after=timedelta(hours=3))
    forecast = provider.forecast("GB", now)
    assert (forecast.series.values.tolist(), forecast.issued_at) == (VALUES[2:], None)
    assert provider.history("GB", BEGIN, now, now).values.tolist() == [0.0, 1.0]
    assert provider.settle_after == timedelta(hours=3)


def test_a_file_is_read_again_when_it_changes(path: Path) -> None:
    """A new file counts from the next call; a broken one raises and, mended, counts again."""
    provider = opened(path)
    write(path, [value + 0.5 for value in VALUES])
    assert provider.forecast("GB", BEGIN).series.at(BEGIN) == 0.5
    path.write_text("start,g_per_kwh\nrubbish\n")
    with pytest.raises(ProviderGarbage, match="line 2"):
        provider.forecast("GB", BEGIN)
    path.unlink()
    with pytest.raises(ProviderRefused, match="cannot be read"):
        provider.forecast("GB", BEGIN)
    write(path, VALUES)
    assert provider.forecast("GB", BEGIN).series.at(BEGIN) == 0.0


def test_an_issued_file_tells_what_was_known_then(tmp_path: Path) -> None:
    """The newest issue of the past counts, with its own instant; before the first there is none."""
    issues = {BEGIN: [1.0] * 20, BEGIN + 4 * HALF_HOUR: [2.0] * 20}
    provider = opened(write_issued(tmp_path / "issued.csv", issues))
    old, new = (provider.forecast("GB", BEGIN + at * HALF_HOUR) for at in (3.5, 4))
    assert (old.issued_at, old.series.at(BEGIN + 5 * HALF_HOUR), len(old.series)) == (BEGIN, 1.0, 17)
    assert (new.issued_at, new.series.at(BEGIN + 5 * HALF_HOUR), len(new.series)) == (BEGIN + 4 * HALF_HOUR, 2.0, 20)
    with pytest.raises(ProviderUnavailable, match="its first is issued at 2020-06-01T00:00:00"):
        provider.forecast("GB", BEGIN - SECOND)


def test_issued_forecasts_are_not_measurements(tmp_path: Path) -> None:
    """Nothing is settled with a forecast; the sentence says what to name instead."""
    provider = opened(write_issued(tmp_path / "issued.csv", {BEGIN: [1.0] * 20}))
    with pytest.raises(ProviderRefused, match="name a history_provider"):
        provider.history("GB", BEGIN, BEGIN + HALF_HOUR, BEGIN + HALF_HOUR)


def test_another_zone_is_refused_by_both_names(path: Path) -> None:
    """The sentence names the zone that was asked and the one that is served."""
    with pytest.raises(ProviderRefused, match="serves zone 'DE', not 'GB'"):
        opened(path, zone="DE").forecast("GB", BEGIN)


def test_what_the_settings_state_is_carried_by_the_series(path: Path) -> None:
    """Signal, accounting and basis are part of a series' identity; label and attribution are for display."""
    provider = opened(
        path, signal="marginal", accounting="production", basis="direct", label="synthetic", attribution="CC BY"
    )
    stated = provider.forecast("GB", BEGIN).series.id
    assert (stated.signal, stated.accounting, stated.basis) == (Signal.MARGINAL, Accounting.PRODUCTION, Basis.DIRECT)
    assert (provider.label, provider.attribution) == ("synthetic", "CC BY")


def test_a_missing_file_a_folder_and_a_forbidden_file_are_refused(tmp_path: Path, path: Path) -> None:
    """What cannot be opened is told by name, at once."""
    for bad in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(ProviderRefused, match=str(bad)):
            opened(bad)
    if os.getuid():
        path.chmod(0)
        with pytest.raises(ProviderRefused, match="Permission denied"):
            opened(path)


def test_a_file_larger_than_the_cap_is_refused(tmp_path: Path) -> None:
    """A file of 64 MiB and a byte is not even parsed."""
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    with pytest.raises(ProviderGarbage, match="larger than 64 MiB"):
        opened(path)


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    """The table of sources is explicit."""
    with pytest.raises(ConfigError, match="unknown kind 'crystal_ball'; known are file"):
        open_provider("x", ProviderSettings(kind="crystal_ball"), anchored())


def test_a_real_year_replays_from_any_day() -> None:
    """GB 2020, half an hour a second from June on: the trace's own values, slot by slot."""
    path = real("GB_2020_30min.csv")
    rows = dict(line.split(",") for line in path.read_text().splitlines()[1:])
    provider = opened(path, replay=replay(at=BEGIN))
    forecast = provider.forecast("GB", WALL + 100.25 * SECOND)
    expected = [float(rows[f"{BEGIN + (100 + i) * HALF_HOUR:%Y-%m-%dT%H:%M:%SZ}"]) for i in range(96)]
    assert forecast.series.values.tolist() == expected
    assert {slot.kind for slot in forecast.series} == {Kind.FORECAST}


def test_real_measurements_with_holes_are_refused_or_kept() -> None:
    """GB of March 2023 lacks six slots in three places."""
    path = real("GB_2023-03_actual.csv")
    with pytest.raises(
        ProviderGarbage, match=r"a hole of 1:30:00 from 2023-03-15T02:00:00\+00:00, the first of 3 holes"
    ):
        opened(path)
    begin = datetime(2023, 3, 14, tzinfo=UTC)
    now = begin + timedelta(days=9)
    assert len(opened(path, holes="keep").history("GB", begin, now, now).holes()) == 3
