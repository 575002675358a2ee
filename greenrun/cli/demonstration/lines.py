"""The demo in a pipe: a line for each change, without control codes."""

from collections.abc import Iterator, Mapping
from typing import Any

from greenrun.cli import text
from greenrun.cli.demonstration.scenario import DEMO_JOBS, SPEED
from greenrun.cli.demonstration.view import View, ended_at, is_finished, started_at
from greenrun.core.formatting import energy_text, mass_text

Answer = Mapping[str, Any]


class Lines:
    """Prints what has changed since the previous view."""

    def __init__(self, page_url: str, metrics_url: str) -> None:
        self._page_url, self._metrics_url = page_url, metrics_url
        self._printed: dict[int, str] = {}

    def __enter__(self) -> "Lines":
        hour = f"{3600 / SPEED:g} s"
        print("greenrun demo: a real daemon and real processes on a SYNTHETIC grid and EMULATED GPUs.")
        print(f"A day of the grid takes a minute, an hour {hour}; the times below are the grid's own.")
        print(f"Watch it in a browser, which this opens once: {self._page_url}")
        print(f"While it runs, its metrics are at {self._metrics_url}", end="\n\n", flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, view: View) -> None:
        """Print the changes, at once."""
        for job in view.jobs:
            for line in changes(view, job, self._printed.get(job["id"])):
                print(line, flush=True)
            self._printed[job["id"]] = job["state"]


def changes(view: View, job: Answer, last: str | None) -> Iterator[str]:
    """Yield what is new of a job whose last printed state is `last` (None: none yet), in the order it happened."""
    started, ended = started_at(job), ended_at(job)
    if last is None:
        submitted = text.instant(job["submitted_at"])
        yield f"{view.clock(submitted)}  submitted  {_title(job)}: {_options(job)}{_intention(view, job)}"
    if last in (None, "queued", "starting") and started and (job["state"] == "running" or is_finished(job)):
        yield f"{view.clock(started)}  started    {_title(job)} on {_gpus(view, job)}: {_why(view, job)}"
    if is_finished(job) and last != job["state"]:
        yield f"{view.clock(ended or view.now)}  ended      {_title(job)}: {_ending(job)}"


def _title(job: Answer) -> str:
    return f"job {job['id']} {job['name']}"


def _options(job: Answer) -> str:
    return next((demo_job.options for demo_job in DEMO_JOBS if demo_job.name == job["name"]), "")


def _intention(view: View, job: Answer) -> str:
    planned = job.get("planned")
    if job["state"] != "queued" or not planned:
        return ""
    if text.instant(planned["start"]) <= view.now:
        return "; starts at once"
    when = view.clock(text.instant(planned["start"]))
    grounds = ", ".join(part for part in (text.forecast_text(planned["g_per_kwh"]), text.below_text(planned)) if part)
    return f"; planned for {when} ({grounds})"


def _gpus(view: View, job: Answer) -> str:
    names = [str(view.gpus.index(name)) for name in job["runs"][-1]["devices"] if name in view.gpus]
    return f"emulated GPU {' and '.join(names)}"


def _why(view: View, job: Answer) -> str:
    return text.reason_text({"reason": view.why.get(job["id"])}) or "no reason was seen"


def _ending(job: Answer) -> str:
    run = job["runs"][-1] if job["runs"] else {}
    used = f"{energy_text(run.get('energy_j'))}, {mass_text(text.emitted_g(run))} CO2e"
    return f"{job['state']}, {used}: {text.reason_text(job)}"
