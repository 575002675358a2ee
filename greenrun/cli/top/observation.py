"""What `top` shows, as seen at one instant through the daemon's API alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from greenrun.charts.terminal import Step
from greenrun.cli import text
from greenrun.cli.grid.forecast import steps_of
from greenrun.clock import utc_now
from greenrun.core.jobs.job import LIVE, State

if TYPE_CHECKING:
    from greenrun.client import ApiClient

Answer = Mapping[str, Any]
MOST_QUEUED = 500  # of a longer queue these are asked for; the plan counts them all


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The grid, the jobs and the devices at `at`; `steps` is the intensity as far as it is foreseen."""

    at: datetime
    forecast: Answer
    plan: Answer
    running: Sequence[Answer]
    queued: Sequence[Answer]
    devices: Sequence[Answer]
    drains: Sequence[Answer]
    troubles: Sequence[str]

    @property
    def steps(self) -> list[Step]:
        """The intensity of the coming hours, as far as it is known."""
        return steps_of(self.forecast)

    @property
    def waiting(self) -> int:
        """How many jobs wait, of those that the plan knows."""
        hidden = len(self.plan.get("others") or ()) + int(self.plan.get("others_waiting", 0))
        return max(len(self.queued), len(self.plan["placements"]) + len(self.plan["waiting"]) + hidden)

    def power_w(self, job: Answer) -> float | None:
        """What the GPUs of a running job draw together; None when one of them cannot say, or it has none."""
        mine = [device.get("power_w") for device in self.devices if device["leased_by_job"] == job["id"]]
        return text.summed(mine)


def look(client: "ApiClient") -> Observation:
    """Ask the daemon for all of it; raise ClientError."""
    queued = client.jobs([State.QUEUED], limit=MOST_QUEUED)
    return Observation(
        at=utc_now(),
        forecast=client.forecast(),
        plan=client.plan(),
        running=client.jobs(sorted(LIVE)),
        queued=sorted(queued, key=_by_start),
        devices=client.devices(),
        drains=client.drains(),
        troubles=client.health()["reasons"],
    )


def _by_start(job: Answer) -> tuple[bool, str, int]:
    """Sort jobs by their planned start, those without one last."""
    planned = job.get("planned")
    return planned is None, planned["start"] if planned else "", job["id"]
