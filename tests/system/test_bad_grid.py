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
from tests import patience
from tests.patience import HANGS_S, Watch, until
from tests.system.decisions import keep_plans, read_decisions
from tests.system.harness import Daemon, instant

SLOT_S = 0.5
AHEAD = 16  # slots: a forecast ends 8 s after it was made
SLEEP_S = 0.3
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
            self.over.wait(HANGS_S)
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
        with urlopen(f"http://{self.daemon.metrics_address}/metrics", timeout=HANGS_S) as answer:
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

    def failures_of(self, provider: str) -> float:
        """How often a source was given up."""
        return self.value("greenrun_grid_request_failures_total", provider=provider)

    def answered_s(self, provider: str) -> float:
        """When a source answered last, in seconds since the epoch."""
        return self.value("greenrun_grid_forecast_last_success_timestamp_seconds", provider=provider)

    def suffers(self, mood: str, cause: str) -> None:
        """Let the source be so until that is to be seen."""
        before = self.failures(cause)
        self.source.mood = mood
        until(lambda: self.failures(cause) > before, f"{mood} is counted as {cause}")

    def grows_stale(self) -> bool:
        """Let the source fail until its last forecast is stale; let it recover if that was over before a tick came."""
        self.suffers("error", "ProviderUnavailable")
        until(lambda: self.rung() != "fresh", "the last forecast grows old")
        if "stale" in {line["rung"] for line in self.daemon.logged("forecast in use changed")}:
            return True
        self.source.mood = "good"
        until(lambda: self.rung() == "fresh", "it recovers")
        return False


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
def watch() -> Iterator[Watch]:
    """How much the machine gives meanwhile."""
    with patience.watching() as made:
        yield made


@pytest.fixture
def watched(folder: Path) -> Iterator[Watched]:
    """A daemon with one source."""
    with watching(folder, "rates") as found:
        yield found


def test_through_a_day_of_bad_answers_every_job_runs_once_and_in_time_and_each_failure_is_to_be_seen(
    watched: Watched, watch: Watch
) -> None:
    daemon, source = watched.daemon, watched.source
    keep_plans(daemon.state / "greenrun.db")
    until(lambda: watched.rung() == "fresh", "a fresh forecast")
    limits = [utc_now() + timedelta(seconds=wait) for wait in (12, 17, 22, 27, 32, 37)]
    jobs = [
        daemon.submit("--duration", "3s", "--finish-by", at.isoformat(), "--", "sleep", f"{SLEEP_S}") for at in limits
    ]
    until(watched.grows_stale, "a forecast is stale before it is over")
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
    until(lambda: watched.rung() in ("stale", "climatology"), "what is old is not taken for fresh")
    source.mood = "nulls"
    until(lambda: watched.value("greenrun_grid_values_dropped_total", cause="missing") >= AHEAD, "nulls are dropped")
    watched.suffers("redirect", "ProviderRefused")
    source.mood = "good"
    until(lambda: watched.rung() == "fresh", "it recovers")

    runs = [daemon.wait_for(job, limit_s=40)["runs"] for job in jobs]
    assert [[(run["outcome"], run["exit_code"]) for run in own] for own in runs] == [[("succeeded", 0)]] * len(jobs)
    assert watched.value("greenrun_jobs_finished_total") == len(jobs)
    missed = [limit for (run,), limit in zip(runs, limits, strict=True) if instant(run["ended_at"]) > limit]
    assert watched.value("greenrun_deadlines_missed_total") == len(missed)
    decisions = read_decisions(daemon.state / "greenrun.db", gpus=2)
    assert decisions.too_early() == []
    prompt_s = {claim.job: decisions.prompt_s(claim, watch) for claim in decisions.claims}
    late = [job for job, limit in zip(jobs, limits, strict=True) if prompt_s[job] + SLEEP_S > limit.timestamp()]
    assert late == [], "whatever a busy machine adds to a start that is due"
    steps = [(line["before"], line["rung"]) for line in daemon.logged("forecast in use changed")]
    assert all(before[1] == after[0] for before, after in pairwise(steps))
    assert {rung for _, rung in steps} >= {"fresh", "stale", "climatology"}
    assert daemon.logged("failed, will be tried again") == []


def test_a_source_that_hangs_keeps_neither_the_daemon_nor_the_next_source_waiting(folder: Path) -> None:
    """It is waited for all the time, for longer than the test has patience."""
    with watching(folder, "hang", "rates", timeout="1h") as watched:
        until(lambda: watched.source.is_hung, "it is asked")
        for _ in range(3):
            last_s = watched.answered_s("rates")
            until(lambda last_s=last_s: watched.answered_s("rates") > last_s, "the other source is asked on")  # type: ignore[misc]
            until(lambda: watched.rung() == "fresh", "its forecast is in use")
        assert watched.failures_of("hang") == 0, "it still hangs"
        assert watched.daemon.terminate() == 0, "nor does it keep the daemon from stopping"
        assert watched.daemon.logged("stopped") != []


def test_a_source_that_hangs_is_given_up_and_counted_while_the_next_one_is_used(folder: Path) -> None:
    with watching(folder, "hang", "rates") as watched:
        until(lambda: watched.failures_of("hang") >= 2, "it is given up, and again")
        until(lambda: watched.rung() == "fresh", "the other source is used")
        watched.source.over.set()
