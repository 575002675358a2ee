"""The sources and their past over the API: whoever asks is told, and only the daemon's own people may add to it."""

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenrun.core.errors import ProviderRefused
from greenrun.providers.energinet import EnerginetSettings
from greenrun.store import Store
from tests.api.any_json import VALUES
from tests.api.fakes import ADA, NOW, ROOT, World
from tests.grid.past import DAY, HOUR, Backfilled, Past, hours
from tests.sampling import examples

OWN = f"uid:{os.getuid()}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "greenrun.db") as opened:
        yield opened


@pytest.fixture
def source() -> Past:
    return Past(since=NOW - 100 * DAY)


@pytest.fixture
def past(world: World, store: Store, source: Past) -> World:
    """An API whose daemon has one source of measured values."""
    filled = Backfilled(store, (source,), settings={"live": EnerginetSettings()})
    world.scheduler.sources, world.scheduler.backfill = filled.sources, filled.backfill
    return world


def body(**own: Any) -> dict[str, Any]:
    slots = [(slot.start.isoformat(), slot.intensity_g_per_kwh) for slot in hours(NOW - 2 * DAY, NOW - DAY)]
    return {"provider": "mine", "step_s": 3600, "parts": [{"slots": slots}], **own}


def test_everybody_may_see_the_sources(past: World) -> None:
    past.ask("POST", "/v1/history/fetch", who=ROOT, json=week())
    (told,) = past.ask("GET", "/v1/providers", who=ADA).json()
    assert told == {
        "name": "live",
        "kind": "energinet",
        "role": "history",
        "label": "",
        "attribution": "Source: nobody",
        "zones": ["GB"],
        "needs_key": False,
        "key_problem": None,
        "package": "greenrun",
        "problem": None,
        "forecast_at": None,
        "forecast_issued_at": None,
        "forecast_end": None,
        "measured_from": "2026-02-23T12:00:00Z",
        "measured_until": "2026-03-02T12:00:00Z",
        "measured_at": "2026-03-02T12:00:00Z",
        "asked": {"requests": 1, "failures": {}, "dropped": {}, "quota_left": None},
    }


def week() -> dict[str, str]:
    return {"from": (NOW - 7 * DAY).isoformat(), "to": NOW.isoformat()}


@pytest.mark.parametrize(("path", "sent"), [("/v1/history/import", body()), ("/v1/history/fetch", week())])
def test_only_root_and_the_daemon_s_own_user_may_add_to_the_past(
    past: World, store: Store, path: str, sent: dict[str, Any]
) -> None:
    answer = past.ask("POST", path, who=ADA, json=sent)
    assert (answer.status_code, store.grid.reaches()) == (403, [])
    assert [past.ask("POST", path, who=who, json=sent).status_code for who in (ROOT, OWN)] == [200, 200]


def test_an_import_is_told_with_its_series_and_what_was_new(past: World) -> None:
    first, second = (past.ask("POST", "/v1/history/import", who=ROOT, json=body()).json() for _ in range(2))
    series = {"provider": "mine", "zone": "GB", "signal": "average", "accounting": None, "basis": None}
    assert first == {
        "series": series,
        "given": 24,
        "new": 24,
        "is_used": True,
        "zeros": 0,
        "dropped": {},
        "doubt": None,
    }
    assert second["new"] == 0


def test_a_fetch_is_told_with_its_holes(past: World, source: Past) -> None:
    source.holes = frozenset({NOW - 3 * HOUR})
    told = past.ask("POST", "/v1/history/fetch", who=ROOT, json=week()).json()
    assert (told["series"]["provider"], told["given"], told["new"], told["failures"]) == ("live", 167, 167, [])
    assert told["holes"] == [{"start": "2026-03-02T09:00:00Z", "end": "2026-03-02T10:00:00Z"}]


def test_a_source_that_refuses_is_an_answer_and_no_failure_of_the_request(past: World, source: Past) -> None:
    source.fault = ProviderRefused("live serves only this year")
    told = past.ask("POST", "/v1/history/fetch", who=ROOT, json=week()).json()
    failure = {"provider": "live", "is_final": True, "message": "live serves only this year", "retry_after_s": None}
    assert (told["series"], told["failures"]) == (None, [failure])


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({"provider": None}, "provider"),
        ({"step_s": 0}, "step_s"),
        ({"parts": []}, "parts"),
        ({"parts": [{"slots": [["2026-01-01T00:00", 1]]}]}, "parts[0].slots[0][0]"),
        ({"parts": [{"slots": [["1026-01-01T00:00Z", 1]]}]}, "parts[0].slots[0][0]"),
        ({"parts": [{"slots": [["2026-01-01T00:00Z", -1]]}]}, "parts[0].slots[0][1]"),
        ({"parts": [{"slots": [["2026-01-01T00:00Z", 1e6]]}]}, "parts[0].slots[0][1]"),
        ({"parts": [{"slots": [["2026-01-01T00:00Z", None]]}]}, "parts[0].slots[0][1]"),
        ({"zone": "Nowhere at all"}, "zone"),
        ({"basis": "carbon"}, "basis"),
        ({"more": 1}, "more"),
    ],
)
def test_a_bad_import_names_its_field_and_keeps_nothing(
    past: World, store: Store, own: dict[str, Any], field: str
) -> None:
    answer = past.ask("POST", "/v1/history/import", who=ROOT, json=body(**own))
    assert (answer.status_code, answer.json()["errors"][0]["field"], store.grid.reaches()) == (422, field, [])


def test_values_of_unlike_lengths_are_kept_each_for_its_own(past: World, store: Store) -> None:
    slots = [[(NOW - timedelta(days=2) + timedelta(minutes=at)).isoformat(), 100] for at in (0, 60, 120, 135)]
    part = {"slots": slots, "steps_s": [3600, 3600, 900, 900]}
    assert past.ask("POST", "/v1/history/import", who=ROOT, json=body(parts=[part])).status_code == 200
    (reach,) = store.grid.reaches()
    series = store.grid.measured(reach.id.zone, NOW - timedelta(days=3), NOW)
    assert series is not None
    assert [int((slot.end - slot.start).total_seconds()) for slot in series] == [3600, 3600, 900, 900]
    answer = past.ask("POST", "/v1/history/import", who=ROOT, json=body(parts=[part | {"steps_s": [900]}]))
    assert (answer.status_code, "4 slots and 1 steps_s" in answer.json()["detail"]) == (422, True)


def test_what_does_not_fit_in_a_request_is_refused(past: World) -> None:
    slots = [[f"2026-01-01T{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}Z", 1] for n in range(10_001)]
    parts = [{"slots": slots[:9_000]}, {"slots": slots[9_000:]}]
    answer = past.ask("POST", "/v1/history/import", who=ROOT, json=body(step_s=1, parts=parts))
    assert (answer.status_code, "send them in parts" in answer.json()["detail"]) == (422, True)


KEYS = st.sampled_from(["provider", "zone", "step_s", "parts", "basis", "signal", "from", "to"])


@settings(examples(60), suppress_health_check=list(HealthCheck), database=None)
@given(sent=st.dictionaries(KEYS, VALUES, max_size=5), path=st.sampled_from(["import", "fetch"]))
def test_any_statement_is_taken_or_refused_with_what_is_wrong(past: World, sent: dict[str, Any], path: str) -> None:
    full = {**(body() if path == "import" else week()), **sent}
    headers = {"content-type": "application/json"}
    answer = past.ask("POST", f"/v1/history/{path}", who=ROOT, content=json.dumps(full), headers=headers)
    assert answer.status_code in (200, 422)
    assert answer.status_code == 200 or answer.json()["errors"]
