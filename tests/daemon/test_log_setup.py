"""Everything in the log has its form, whoever logs; what repeats comes once a minute, with its count."""

import json
import subprocess
import sys
from typing import Any

import pytest
import structlog

from greenrun.daemon import log_setup
from greenrun.daemon.log_setup import Repeats, without_noise
from tests.patience import HANGS_S

PROGRAM = """
import gc, logging, threading, warnings
from greenrun.daemon.log_setup import configure_logs

configure_logs("json", "info")
logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
logging.getLogger("apscheduler").error("a job %s", "failed")
try:
    raise ValueError("in asyncio")
except ValueError:
    logging.getLogger("asyncio").exception("Task exception was never retrieved")
logging.getLogger("httpx").info("GET https://example/?key=secret")
warnings.warn("old", DeprecationWarning, stacklevel=1)
threading.Thread(target=lambda: 1 / 0, name="worker").start()

class Broken:
    def __del__(self):
        raise OSError("in a finalizer")

Broken()
gc.collect()
raise RuntimeError("at the top")
"""


def test_every_line_is_json_whoever_writes_it() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", PROGRAM], capture_output=True, text=True, timeout=HANGS_S, check=False
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line["level"]) for line in lines[:4]] == [
        ("Invalid HTTP request received.", "warning"),
        ("a job failed", "error"),
        ("Task exception was never retrieved", "error"),
        ("python warning", "warning"),
    ]
    told = "".join(line.get("exception", "") for line in lines)
    assert [text in told for text in ("in asyncio", "ZeroDivisionError", "in a finalizer", "at the top")] == [True] * 4
    assert "secret" not in done.stderr


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(log_setup, "time", made)
    return made


def told(repeats: Repeats, **event: Any) -> dict[str, Any] | None:
    try:
        return dict(repeats(None, "", {"level": "error", "event": "failed", **event}))
    except structlog.DropEvent:
        return None


def test_a_line_that_repeats_comes_once_a_minute_with_its_count(clock: Clock) -> None:
    repeats, lines = Repeats(), []
    for _ in range(130):
        lines.append(told(repeats, call="tick", timestamp=clock.now_s))
        clock.now_s += 1
    assert [row.get("times") for row in lines if row] == [None, 59, 59]


def test_the_same_exception_of_one_place_is_one_line_and_others_are_others(clock: Clock) -> None:
    repeats, shown = Repeats(), 0
    for kind in (ValueError, ValueError, OSError):
        try:
            raise kind("x")
        except (ValueError, OSError) as exc:
            shown += told(repeats, exc_info=exc) is not None
    assert shown == 2


def test_lines_that_differ_and_lines_that_are_no_trouble_all_come(clock: Clock) -> None:
    repeats = Repeats()
    rows = [told(repeats, job=1), told(repeats, job=2), told(repeats, level="info"), told(repeats, level="info")]
    assert None not in rows


def test_what_was_held_back_and_ceased_is_told_once(clock: Clock) -> None:
    repeats = Repeats()
    for _ in range(4):
        told(repeats, job=1)
    assert repeats.due() == []
    clock.now_s += log_setup.REPEAT_S
    assert [(event["job"], count) for event, count in repeats.due()] == [(1, 3)]
    assert repeats.due() == []


def test_only_so_many_different_lines_are_kept_in_mind(clock: Clock) -> None:
    repeats = Repeats()
    for job in range(3 * log_setup.MOST_KNOWN):
        told(repeats, job=job)
    assert len(repeats._known) == log_setup.MOST_KNOWN


def test_numbers_are_logged_without_the_noise_of_a_float() -> None:
    told = without_noise(
        None, "info", {"event": "starting", "g_per_kwh": 182.46903827786446, "w": 349.99999999999994, "job": 1}
    )
    assert told == {"event": "starting", "g_per_kwh": 182.469, "w": 350.0, "job": 1}
