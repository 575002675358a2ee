"""What a report tells of its own completeness: for how long each device is booked, and what waits."""

from datetime import datetime, timedelta

from sqlalchemy import String, case, func, literal, select, type_coerce
from sqlalchemy.orm import Session

from greenrun.core.accounting.watched import BookedTime, Pending
from greenrun.core.energy.model import Component, Mark, Quality
from greenrun.store.columns import to_text
from greenrun.store.tables import MARKS, SLICES, UNSETTLED

DAY_S = 86_400.0
LONGEST_SLICE = timedelta(hours=1)


def booked(session: Session, start: datetime, end: datetime) -> list[BookedTime]:
    """Return each device in the books of `[start, end)` with what of that time its slices fill."""
    first, last = to_text(start), to_text(end)
    begins = func.max(type_coerce(SLICES.c.started_at, String), literal(first))
    ends = func.min(type_coerce(SLICES.c.ended_at, String), literal(last))
    filled = (func.julianday(ends) - func.julianday(begins)) * SLICES.c.share
    is_gap = SLICES.c.quality.in_([Quality.BRIDGED, Quality.UNKNOWN])
    query = (
        select(
            SLICES.c.device,
            SLICES.c.component,
            func.min(begins),
            func.max(ends),
            DAY_S * func.sum(filled),
            DAY_S * func.total(case((is_gap, filled))),
        )
        .where(SLICES.c.started_at >= start - LONGEST_SLICE, SLICES.c.started_at < end, SLICES.c.ended_at > start)
        .group_by(SLICES.c.device, SLICES.c.component)
        .order_by(SLICES.c.device)
    )
    return [
        BookedTime(
            device=device,
            component=Component(component),
            since=datetime.fromisoformat(since),
            until=datetime.fromisoformat(until),
            seconds=seconds,
            gap_s=gap_s,
        )
        for device, component, since, until, seconds, gap_s in session.execute(query)
    ]


def pending(session: Session, start: datetime, end: datetime) -> Pending:
    """Return how far each device is booked, and the slices of `[start, end)` that are not settled."""
    waiting = (
        select(func.count(), func.total(SLICES.c.energy_j))
        .join_from(UNSETTLED, SLICES, SLICES.c.id == UNSETTLED.c.slice_id)
        .where(SLICES.c.started_at >= start, SLICES.c.started_at < end)
        .where(UNSETTLED.c.ended_at > start)
    )
    count, energy_j = session.execute(waiting).one()
    marks = {row.device: Mark(**row._mapping) for row in session.execute(select(MARKS))}
    return Pending(marks=marks, unsettled_slices=count, unsettled_j=energy_j)
