"""Who holds which device when: from the runs in the store, completed by what the executor has just reported."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf

from greenrun.core.energy.gpu_parts import board_of, is_part, share_of
from greenrun.core.energy.model import Hold
from greenrun.core.jobs.job import Run
from greenrun.core.jobs.runs.status import Phase, RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A live run and what its executor has just reported of it."""

    run: Run
    status: RunStatus


def holds_of(booked: Sequence[Run], observed: Sequence[Observed]) -> Mapping[str, list[Hold]]:
    """Return by board every hold that may own energy not yet booked; a run that has not started holds nothing."""
    holds: dict[str, list[Hold]] = defaultdict(list)
    for run, start, end in _spans(booked, observed):
        for device in run.devices:
            board, share = board_of(device), share_of(device)
            holds[board].append(Hold(run_id=run.id, device=board, start=start, end=end, share=share))
    return holds


def held_in_parts(booked: Sequence[Run], observed: Sequence[Observed]) -> set[str]:
    """Return the boards of which some run has held a part."""
    runs = (*booked, *(row.run for row in observed))
    return {board_of(device) for run in runs for device in run.devices if is_part(device)}


def users_of(device: str, booked: Sequence[Run], observed: Sequence[Observed]) -> dict[str, Hold]:
    """Return every run that may have used a device which nobody holds, by label, over its time.

    Those of a time before the clock was set back too: readings name them no more, and others may have gone on since.
    """
    spans = _spans(booked, observed)
    return {run.label: Hold(run_id=run.id, device=device, start=start, end=end) for run, start, end in spans}


def expected_seconds(
    run: Run, booked_until: datetime | None, shared_until: Mapping[str, datetime] | None = None
) -> dict[str, float]:
    """Return how many seconds of each of its devices must be in a run's slices; infinite where that cannot be told.

    Those of a part are in the slices of its board, by its share.

    While it runs, the time that counts ends where the latest slice of its devices does. `shared_until` tells how far
    the devices that nobody holds are booked: while one is not up to the run's end, a part of the run may be missing.
    """
    start, end = run.started_at, run.ended_at or booked_until
    missing = [device for device, at in (shared_until or {}).items() if run.ended_at is not None and at < run.ended_at]
    if start is None or end is None or end < start:  # the last: the clock was set back meanwhile
        return dict.fromkeys([*map(board_of, run.devices), *missing], inf)
    seconds = (end - start).total_seconds()
    return {board_of(device): seconds * share_of(device) for device in run.devices} | dict.fromkeys(missing, inf)


def _spans(booked: Sequence[Run], observed: Sequence[Observed]) -> Iterator[tuple[Run, datetime, datetime | None]]:
    """Yield when each run that has started did so, and when it ended, as far as that is known."""
    seen = {row.run.id: row for row in observed}
    runs = {run.id: run for run in (*booked, *(row.run for row in observed))}
    for run in runs.values():
        status = seen[run.id].status if run.id in seen else None
        # By the clock of when it was seen to start, or by that of now: a clock that was set back dates it earlier.
        starts = (run.started_at, status.started_at if status else None)
        start = min((at for at in starts if at is not None), default=None)
        end = run.ended_at or (status.ended_at if status else None)
        if start is not None and (end is None or end > start):
            yield run, start, end


def holder(device: str, observed: Sequence[Observed]) -> int | None:
    """Return a run that has the device, or a part of it, now, if it has started."""
    started = [row.run for row in observed if row.run.started_at or row.status.started_at]
    return next((run.id for run in started if device in map(board_of, run.devices)), None)


def exclusive(holds: Iterable[Hold]) -> list[Hold]:
    """Return one device's holds, in the order of their runs, without overlap: each ends by where a later one begins.

    A device has one holder at a time, so an overlap means that the clock was set back between two runs.
    """
    kept: list[Hold] = []
    taken: datetime | None = None
    for hold in sorted(holds, key=lambda hold: hold.run_id, reverse=True):
        end = min((instant for instant in (hold.end, taken) if instant is not None), default=None)
        taken = hold.start if taken is None else min(hold.start, taken)
        if end is None or end > hold.start:
            kept.append(replace(hold, end=end))
    return kept[::-1]


def shared_through(observed: Sequence[Observed], now: datetime) -> datetime:
    """Return the last instant up to which it is known which runs there were to use what nobody holds.

    One that is out of reach, for however long, does not keep the others from theirs.
    """
    return _through([row for row in observed if row.status.phase is not Phase.UNKNOWN], now)


def known_through(device: str, observed: Sequence[Observed], now: datetime) -> datetime:
    """Return the last instant up to which it is known who held the device."""
    return _through([row for row in observed if device in map(board_of, row.run.devices)], now)


def _through(observed: Sequence[Observed], now: datetime) -> datetime:
    through = max([now, *(row.status.ended_at for row in observed if row.status.ended_at is not None)])
    for row in observed:
        runs_on = row.status.phase is Phase.RUNNING and row.status.started_at is not None
        if not runs_on and row.status.ended_at is None:
            # not started as far as is known, or out of reach: nothing after the claim can be told yet
            through = min(through, row.run.started_at or row.run.claimed_at)
    return through
