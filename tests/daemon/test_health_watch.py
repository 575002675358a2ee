"""What is wrong is told with since when, and logged once when it begins and once when it is over."""

import os
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from greenrun.core.conditions import Condition, ConditionCode, Effect, first_seen
from greenrun.core.energy.model import Device
from greenrun.core.jobs.availability import Absence, GpuState
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.daemon import health_watch
from greenrun.daemon.health_watch import HealthWatch, full_disk, lost_gpus
from tests.patience import until

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def condition(code: ConditionCode, at: datetime = NOW, text: str = "x") -> Condition:
    return Condition(code=code, effect=Effect.FAILING, text=text, remedy="y", since=at)


def test_a_condition_that_lasts_keeps_the_instant_it_was_first_seen_at() -> None:
    later = NOW + timedelta(minutes=5)
    before = [condition(ConditionCode.DISK_FULL)]
    found = [condition(ConditionCode.DISK_FULL, later), condition(ConditionCode.SOCKET_LOST, later)]
    assert [row.since for row in first_seen(found, before)] == [NOW, later]


def test_each_condition_is_logged_when_it_begins_when_it_changes_and_when_it_is_over() -> None:
    now: list[Condition] = []
    watch = HealthWatch([lambda _: now])
    with capture_logs() as logged:
        for rows in ([], ["a"], ["a"], ["b"], [], []):
            now[:] = [condition(ConditionCode.DISK_FULL, text=text) for text in rows]
            watch.look()
    assert [(row["event"], row.get("text")) for row in logged] == [
        ("condition", "a"), ("condition", "b"), ("condition over", None)
    ]  # fmt: skip


def test_a_disk_that_goes_on_filling_up_is_told_once_and_again_when_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter([*range(200, 100, -10), 0])
    status = os.statvfs(tmp_path)

    def filling(_: Path) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=next(free) << 10, f_frsize=1024, f_favail=9, f_files=status.f_files)

    monkeypatch.setattr(os, "statvfs", filling)
    monkeypatch.setattr(health_watch, "LITTLE_ROOM_BYTES", 1 << 62)
    monkeypatch.setattr(health_watch, "NO_ROOM_BYTES", 1024)
    watch = HealthWatch([partial(full_disk, tmp_path)])
    with capture_logs() as logged:
        for _ in range(11):
            watch.look()
    assert ["nothing is started" in row["text"] for row in logged] == [False, True]


def test_the_watch_looks_by_itself_also_after_a_check_failed() -> None:
    calls = []

    def failing_at_first(now: datetime) -> list[Condition]:
        calls.append(now)
        if len(calls) == 1:
            raise OSError("no")
        return []

    watch = HealthWatch([failing_at_first])
    with capture_logs():
        watch.start(timedelta(milliseconds=1))
        until(lambda: len(calls) > 2, "it looks again")
        watch.stop()
        seen = len(calls)
    assert len(calls) == seen


def test_a_disk_is_full_once_less_than_the_limit_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert full_disk(tmp_path, NOW) == []

    monkeypatch.setattr(health_watch, "LITTLE_ROOM_BYTES", 1 << 62)
    (found,) = full_disk(tmp_path, NOW)
    assert (found.code, found.effect) == (ConditionCode.DISK_FULL, Effect.WARNING)
    monkeypatch.setattr(health_watch, "NO_ROOM_BYTES", 1 << 62)
    (found,) = full_disk(tmp_path, NOW)
    assert (found.code, found.effect) == (ConditionCode.DISK_FULL, Effect.FAILING)
    assert str(tmp_path) in found.text
    assert full_disk(tmp_path / "gone", NOW) == []


def test_gpus_that_are_lost_are_a_warning_until_they_are_back() -> None:
    there = [Device(id=name, index=index, model="", source="nvml") for index, name in enumerate("ab")]
    lost = GpuState(absences=(Absence(name="GPU 1", code=ReasonCode.GPUS_LOST, text="lost: it has to be reset"),))
    states = {"a": GpuState(), "b": lost}
    (found,) = lost_gpus(lambda: there, lambda device: states[device.id], NOW)
    assert (found.code, found.effect) == (ConditionCode.GPU_LOST, Effect.WARNING)
    assert found.text.startswith("GPU 1 is lost: it has to be reset: nothing is started there")
    assert lost_gpus(lambda: there, lambda device: GpuState(), NOW) == []


def test_what_two_checks_notice_is_told_once_as_the_first_of_them_says_it() -> None:
    first, second, other = (
        condition(ConditionCode.DISK_FULL, text="1"), condition(ConditionCode.DISK_FULL, text="2"),
        condition(ConditionCode.SOCKET_LOST, text="3"),
    )  # fmt: skip
    with capture_logs():
        assert [row.text for row in HealthWatch([lambda _: [first], lambda _: [second, other]]).look()] == ["1", "3"]
