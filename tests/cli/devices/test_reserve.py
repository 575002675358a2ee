"""`greenrun reserve` asks for what was meant, in local times, and tells all that is wrong at once."""

from datetime import UTC, datetime
from typing import Any

import pytest

from greenrun.cli.devices.overview import gpu_notes
from tests.cli.conftest import Run
from tests.fake_api import FakeApi

T0 = datetime(2031, 1, 5, 15, tzinfo=UTC)
ROW: dict[str, Any] = {
    "id": 3, "name": "reservation 3", "gpus": ["GPU-a"], "start": "2031-01-05T14:00:00Z", "end": "2031-01-05T17:00:00Z",
    "user": "ada", "for_user": "bob", "reason": "a demo", "repeats": False,
}  # fmt: skip
WEEKLY = {**ROW, "id": None, "name": "office", "user": None, "for_user": None, "reason": "people", "repeats": True}
DEVICE = {
    "id": "GPU-a", "index": 0, "model": "H100", "kind": "gpu", "memory_bytes": None, "leased_by_job": 12,
    "unavailable": [], "processes": [], "reserved_next": "reserved for bob from 2031-01-05 14:00:00Z to …",
}  # fmt: skip


@pytest.fixture
def api(api: FakeApi) -> FakeApi:
    api.get("/v1/devices", [DEVICE])
    api.get("/v1/drains", [])
    api.get("/v1/reservations", [WEEKLY, ROW])
    api.post("/v1/reservations", ROW)
    api.post("/v1/reservations/3/end", ROW)
    return api


def test_it_tells_what_is_reserved_who_is_there_and_how_to_end_it(api: FakeApi, run: Run) -> None:
    said = run("reserve", "--gpu", "0", "--from", "2031-01-05T14:00Z", "--for", "3h", "--for-user", "bob")
    assert said.code == 0
    assert said.out.splitlines()[0].startswith("reservation 3: GPU 0 is kept from jobs for bob from ")
    assert "job 12" in said.out
    assert "greenrun reserve end 3" in said.out
    (body,) = [asked.body for asked in api.changes]
    assert (body["gpus"], body["count"]) == (["0"], None)
    assert (body["start"], body["end"]) == ("2031-01-05T14:00:00Z", "2031-01-05T17:00:00Z")


def test_a_number_of_gpus_and_an_end_will_do(api: FakeApi, run: Run) -> None:
    assert run("reserve", "--gpus", "2", "--until", "2031-01-05T17:00Z").code == 0
    (body,) = [asked.body for asked in api.changes]
    assert (body["gpus"], body["count"], body["start"], body["end"]) == ([], 2, None, "2031-01-05T17:00:00Z")


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_asked(api: FakeApi, run: Run) -> None:
    said = run("reserve", "--gpus", "two", "--gpu", "1", "--from", "nonsense")
    assert said.code == 2
    assert all(word in said.err for word in ("'two'", "nonsense", "--for", "not both"))
    assert not api.asked


def test_what_is_reserved_every_week_is_listed_under_its_name(api: FakeApi, run: Run) -> None:
    rows = [line.split() for line in run("reserve", "list").out.splitlines()]
    assert [row[0] for row in rows] == ["ID", "office", "3"]


def test_one_is_ended_by_its_number(api: FakeApi, run: Run) -> None:
    assert run("reserve", "end", "3").out == "reservation 3 is ended\n"
    assert run("reserve", "end", "office").code == 2


def test_devices_say_when_a_gpu_is_reserved_next(api: FakeApi, run: Run) -> None:
    assert "in use, reserved for bob" in " ".join(run("devices").out.split())


def test_a_list_of_jobs_tells_of_gpus_that_are_reserved_and_not_of_those_that_never_are_given(run: Run) -> None:
    reserved = {"code": "reserved", "text": "reserved for bob until 2031-01-05 17:00:00Z (reservation 3)"}
    excluded = {"code": "excluded", "text": "excluded by the settings (devices.exclude names 1): no job gets it"}
    rows = [
        {**DEVICE, "unavailable": [reserved], "leased_by_job": None},
        {**DEVICE, "id": "GPU-b", "index": 1, "unavailable": [excluded], "leased_by_job": None, "reserved_next": None},
    ]
    told = gpu_notes(Devices(rows), T0)  # type: ignore[arg-type]
    assert len(told) == 1
    assert told[0].startswith("GPU 0 is reserved for bob until ")


class Devices:
    """A client of a daemon with these devices, none of them drained."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def devices(self) -> list[dict[str, Any]]:
        return self._rows

    def drains(self) -> list[dict[str, Any]]:
        return []
