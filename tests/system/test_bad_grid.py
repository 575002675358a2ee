"""A source that misbehaves in every way through a short day, and a real daemon that keeps its promises."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from greenrun.clock import utc_now
from tests.system.harness import Daemon, instant, until

SLOT_S = 0.5
AHEAD = 16  # slots: a forecast ends 8 s after it was made
HOUR = timedelta(hours=1)


class Source:
    """What the server says; `mood` is how. Slots are half seconds, so a minute is more than a day of them."""

    def __init__(self) -> None:
        self.mood = "good"
        self.over = threading.Event()
        self.is_hung = False
        self._frozen = b""

    def answer(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and headers."""
        if self.mood == "hang" or path == "/hang":
            self.is_hung = True
            self.over.wait(30)
        if self.mood == "redirect":
            return 302, b"", {"Location": "http://localhost:9/elsewhere"}
        told = {
            "error": (500, b'{"error": "not there"}'),
            "html": (200, b"<!DOCTYPE html><p>Sign in to this network"),
            "garbage": (200, b"\x00\xff[{]"),
            "empty": (200, b"[]"),
        }
        status, body = told.get(self.mood) or (200, self._past() if path == "/past" else self._ahead())
        return status, body, {}

    def _ahead(self) -> bytes:
        slots = 3 if self.mood == "short" else AHEAD
        first = int(utc_now().timestamp() / SLOT_S)
        values = [None if self.mood == "nulls" else 100 + (number * 7) % 90 for number in range(first, first + slots)]
        edges = [datetime.fromtimestamp(number * SLOT_S, UTC) for number in range(first, first + slots + 1)]
        body = _rates(edges, values)
        self._frozen = self._frozen if self.mood == "frozen" else body
        return self._frozen

    def _past(self) -> bytes:
        """The last two days, hour by hour."""
        last = utc_now().replace(minute=0, second=0, microsecond=0)
        edges = [last - HOUR * ago for ago in range(48, -1, -1)]
        return _rates(edges, [100.0 + number % 24 for number in range(48)])


def _rates(edges: list[datetime], values: list[Any]) -> bytes:
    rows = zip(edges[:-1], edges[1:], values, strict=True)
    return json.dumps([{"start": a.isoformat(), "end": b.isoformat(), "value": v} for a, b, v in rows]).encode()


@contextmanager
def serving(source: Source) -> Iterator[str]:
    """Answer on this machine as the source does; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, headers = source.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def handle(self) -> None:
            """Who asked may have gone away."""
            try:
                super().handle()
            except OSError:
                return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        source.over.set()
        server.shutdown()
        server.server_close()


class Watched:
    """A daemon, its metrics, and the ways to wait for them."""

    def __init__(self, daemon: Daemon, source: Source) -> None:
        self.daemon = daemon
        self.source = source

    def samples(self) -> dict[str, float]:
        """Every sample by its name and labels as they stand in the text."""
        with urlopen(f"http://{self.daemon.metrics_address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return {name: float(value) for name, value in re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)}

    def value(self, name: str, **labels: str) -> float:
        """One sample, 0 while it is absent."""
        wanted = {f'{label}="{text}"' for label, text in labels.items()}
        rows = self.samples().items()
        return sum(
            value for key, value in rows if key.partition("{")[0] == name and all(part in key for part in wanted)
        )

    def rung(self) -> str:
        """The fallback level of the active forecast."""
        [rung] = [key for key, value in self.samples().items() if key.startswith("greenrun_grid_rung{") and value == 1]
        return re.findall(r'rung="(\w+)"', rung)[0]

    def failures(self, cause: str) -> float:
        """Answers of no use so far."""
        return self.value("greenrun_grid_request_failures_total", cause=cause)

    def suffers(self, mood: str, cause: str) -> None:
        """Let the source be so until that is to be seen."""
        before = self.failures(cause)
        self.source.mood = mood
        until(lambda: self.failures(cause) > before, f"{mood} is counted as {cause}")


@contextmanager
def watching(folder: Path, *names: str, timeout: str = "1s") -> Iterator[Watched]:
    """A daemon that asks such sources every second; the one called `hang` never answers."""
    source = Source()
    with serving(source) as url:
        common = {"kind": "json", "history_url": f"{url}/past", "refresh_every": "1s", "timeout": timeout}
        paths = {name: "hang" if name == "hang" else "ahead" for name in names}
        config = {
            "grid": {"zone": "GB", "provider": list(names), "history_provider": names[-1], "stale_after": "2s"},
            "provider": {name: {**common, "url": f"{url}/{path}"} for name, path in paths.items()},
            "planner": {"horizon": "1m"},
        }
        with Daemon(folder, config) as daemon:
            yield Watched(daemon, source)


@pytest.fixture
def watched(folder: Path) -> Iterator[Watched]:
    """A daemon with one source."""
    with watching(folder, "rates") as found:
        yield found


def test_through_a_day_of_bad_answers_every_job_runs_once_and_in_time_and_each_failure_is_to_be_seen(
    watched: Watched,
) -> None:
    daemon, source = watched.daemon, watched.source
    until(lambda: watched.rung() == "fresh", "a fresh forecast")
    limits = [utc_now() + timedelta(seconds=wait) for wait in (12, 17, 22, 27, 32, 37)]
    jobs = [daemon.submit("--duration", "3s", "--finish-by", at.isoformat(), "--", "sleep", "0.3") for at in limits]
    for mood, cause in (
        ("error", "ProviderUnavailable"), ("html", "ProviderGarbage"), ("empty", "ProviderUnavailable"),
        ("garbage", "ProviderGarbage"), ("hang", "ProviderUnavailable"),
    ):  # fmt: skip
        watched.suffers(mood, cause)
    until(lambda: watched.rung() == "climatology", "nothing that was foretold holds any more")
    told = daemon.client.forecast()
    assert (told["rung"], told["provider"], told["age_s"]) == ("climatology", "rates+climatology", None)
    assert {slot["kind"] for slot in told["slots"]} == {"estimated"}

    source.over.set()
    source.mood = "good"
    until(lambda: watched.rung() == "fresh", "it recovers")
    source.mood = "short"
    until(lambda: 0 < watched.value("greenrun_grid_forecast_horizon_seconds") < 3 * SLOT_S, "its short answers show")
    source.mood = "good"
    until(lambda: watched.value("greenrun_grid_forecast_horizon_seconds") > 4 * SLOT_S, "it recovers")
    source.mood = "frozen"
    until(lambda: watched.value("greenrun_grid_forecast_age_seconds") > 3, "it is as old as its values")
    assert watched.rung() in ("stale", "climatology")
    source.mood = "nulls"
    until(lambda: watched.value("greenrun_grid_values_dropped_total", cause="missing") >= AHEAD, "nulls are dropped")
    watched.suffers("redirect", "ProviderRefused")
    source.mood = "good"
    until(lambda: watched.rung() == "fresh", "it recovers")

    for job, limit in zip(jobs, limits, strict=True):
        done = daemon.wait_for(job, limit_s=40)
        [run] = done["runs"]
        assert (done["state"], run["exit_code"]) == ("succeeded", 0)
        assert instant(run["ended_at"]) <= limit
    assert watched.value("greenrun_deadlines_missed_total") == 0
    assert watched.value("greenrun_jobs_finished_total") == len(jobs)
    steps = [(line["before"], line["rung"]) for line in daemon.logged("forecast in use changed")]
    assert all(before[1] == after[0] for before, after in pairwise(steps))
    assert {rung for _, rung in steps} >= {"fresh", "stale", "climatology"}
    assert daemon.logged("failed, will be tried again") == []


def test_a_source_that_hangs_keeps_neither_the_daemon_nor_the_next_source_waiting(folder: Path) -> None:
    with watching(folder, "hang", "rates") as watched:

        def answered_at() -> float:
            return watched.value("greenrun_grid_forecast_last_success_timestamp_seconds", provider="rates")

        for _ in range(2):
            hung, last = watched.value("greenrun_grid_request_failures_total", provider="hang"), answered_at()
            until(lambda last=last: answered_at() >= last + 2, "the other source is asked on")  # type: ignore[misc]
            assert watched.value("greenrun_grid_request_failures_total", provider="hang") <= hung + 1
            assert watched.rung() == "fresh"
        until(lambda: watched.value("greenrun_grid_request_failures_total", provider="hang") >= 1, "it is counted")
        watched.source.over.set()


def test_a_source_that_hangs_does_not_keep_the_daemon_from_stopping(folder: Path) -> None:
    """It would be waited for, time and again, for longer than the test has patience."""
    with watching(folder, "hang", "rates", timeout="30s") as watched:
        until(lambda: watched.source.is_hung, "it is asked")
        assert watched.daemon.terminate() == 0
        assert watched.daemon.logged("stopped") != []
