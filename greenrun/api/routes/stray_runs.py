"""The routes of runs that are alive here and that the database does not know."""

from typing import Annotated

from fastapi import APIRouter, Path

from greenrun.api.identity import Caller
from greenrun.api.json_types import ResponseInstant, ResponseModel
from greenrun.api.orders import WITHOUT_FIELDS
from greenrun.api.problems import refusals
from greenrun.api.service import ServiceDep
from greenrun.api.strict_route import StrictRoute
from greenrun.core.jobs.runs.status import StrayRun

router = APIRouter(prefix="/v1/stray-runs", route_class=StrictRoute, tags=["stray runs"], responses=refusals(404))
Label = Annotated[str, Path(max_length=100)]


class StrayRunOut(ResponseModel):
    """A run that is alive here and that the database does not know; it keeps its devices, and a CPU slot without any.

    `run` is its name in the database that it was started from; `log` is where its output goes. Where runs are is told
    to those alone who may end them.
    """

    run: str
    devices: list[str]
    folder: str | None
    log: str | None
    started_at: ResponseInstant | None


@router.get("")
def get_stray_runs(daemon: ServiceDep, caller: Caller) -> list[StrayRunOut]:
    """List the stray runs: those that are alive here and that the database does not know."""
    outs = [_out(stray) for stray in daemon.scheduler.strays.current()]
    if daemon.settings.access.may_all(caller):
        return outs
    return [out.model_copy(update={"folder": None, "log": None}) for out in outs]


@router.post("/{run}/end", dependencies=[WITHOUT_FIELDS])
def end_stray_run(run: Label, daemon: ServiceDep, caller: Caller) -> StrayRunOut:
    """Have a stray run stopped: TERM, its grace period, KILL; without a supervisor only KILL."""
    daemon.settings.access.require_role(caller, "end stray runs")
    return _out(daemon.scheduler.strays.end(run, caller.name, caller.origin))


def _out(stray: StrayRun) -> StrayRunOut:
    return StrayRunOut(
        run=stray.label, devices=list(stray.devices), folder=stray.folder, log=stray.log, started_at=stray.started_at
    )
