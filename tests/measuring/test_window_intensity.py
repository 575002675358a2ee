"""What the grid emits during a measurement is all that was told of it, and what was told last comes first."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from greenrun.client import ApiClient
from greenrun.measuring.choosing import Choice
from greenrun.measuring.window_intensity import WindowIntensity
from greenrun.meters.settings import MeterSettings

T0 = datetime(2026, 6, 1, 12, tzinfo=UTC)

Tell = Callable[[str, int, int, float], None]


@pytest.fixture
def intensity() -> WindowIntensity:
    """That of a window from T0 on, without settings."""
    return WindowIntensity(Choice(meters=MeterSettings(kinds=("none",))), T0)


@pytest.fixture
def tell(intensity: WindowIntensity, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Have the daemon asked, which tells one value from one minute of the window to another."""

    def ask(provider: str, first: int, last: int, g_per_kwh: float) -> None:
        start, end = (T0 + timedelta(minutes=minutes) for minutes in (first, last))
        slot = {"start": start.isoformat(), "end": end.isoformat(), "g_per_kwh": g_per_kwh, "kind": "forecast"}
        told: dict[str, Any] = {"zone": "GB", "provider": provider, "slots": [slot]}
        monkeypatch.setattr(ApiClient, "forecast", lambda self, zone: told)
        assert intensity.ask_daemon()

    return ask


def test_what_is_told_later_goes_on_from_what_was_told_before(intensity: WindowIntensity, tell: Tell) -> None:
    end = T0 + timedelta(minutes=40)
    tell("uk", -10, 20, 100.0)
    assert not intensity.covers(end)
    tell("uk", 20, 50, 300.0)
    emitted, why = intensity.price([], end, 1.0)
    assert emitted is not None
    assert emitted.g_per_kwh == pytest.approx(200.0)
    assert why is None


def test_of_two_that_tell_it_the_last_is_gone_by(intensity: WindowIntensity, tell: Tell) -> None:
    tell("uk", -10, 50, 100.0)
    tell("trace", -10, 50, 300.0)
    emitted, _ = intensity.price([], T0 + timedelta(minutes=40), 1.0)
    assert emitted is not None
    assert emitted.series.provider == "trace"
    assert emitted.g_per_kwh == pytest.approx(300.0)
