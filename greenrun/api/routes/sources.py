"""The route of the sources of carbon intensity: which there are, and what became of asking them."""

from fastapi import APIRouter
from pydantic import BaseModel

from greenrun.api.identity import Caller
from greenrun.api.json_types import Instant
from greenrun.api.service import Daemon
from greenrun.grid.sources import Role, SourceState

router = APIRouter(prefix="/v1", tags=["sources"])


class AskedOut(BaseModel):
    """What came of asking a source since the daemon's start."""

    requests: int
    failures: dict[str, int]
    dropped: dict[str, int]
    quota_left: int | None


class ProviderOut(BaseModel):
    """A configured source; null where it is not known. `key_problem` says why its key cannot be read.

    `package` is what declares its kind, "greenrun" or an installed package, and `problem` says why that cannot be used.

    `forecast_at` is when its forecast of the daemon's zone was last found to hold, `measured_at` the same of the values
    that it measured.
    """

    name: str
    kind: str
    role: Role
    label: str
    attribution: str
    zones: list[str]
    needs_key: bool
    key_problem: str | None
    package: str
    problem: str | None
    forecast_at: Instant | None = None
    forecast_issued_at: Instant | None = None
    forecast_end: Instant | None = None
    measured_from: Instant | None = None
    measured_until: Instant | None = None
    measured_at: Instant | None = None
    asked: AskedOut | None = None


@router.get("/providers")
def get_providers(daemon: Daemon, caller: Caller) -> list[ProviderOut]:
    """List the configured sources of carbon intensity, with what is known by each of the daemon's zone."""
    return [provider_view(state) for state in daemon.scheduler.sources.states()]


def provider_view(state: SourceState) -> ProviderOut:
    """Return a source as the API tells it."""
    reach = state.reach
    asked = state.asked
    return ProviderOut(
        name=state.name,
        kind=state.kind,
        role=state.role,
        label=state.label,
        attribution=state.attribution,
        zones=sorted(state.zones),
        needs_key=state.needs_key,
        key_problem=state.key_problem,
        package=state.package,
        problem=state.problem,
        forecast_at=reach and reach.forecast_at,
        forecast_issued_at=reach and reach.forecast_issued_at,
        forecast_end=reach and reach.forecast_end,
        measured_from=reach and reach.measured_from,
        measured_until=reach and reach.measured_until,
        measured_at=reach and reach.measured_at,
        asked=asked and AskedOut.model_validate(asked, from_attributes=True),
    )
