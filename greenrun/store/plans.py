"""The last plan, kept whole as one row of JSON: after a restart the planner goes on from it as if nothing had happened.

A plan can always be made again, so one that another release has written is left unread rather than guessed at.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert as upsert

from greenrun import __version__
from greenrun.core.carbon.intensity import Signal
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.core.planning.model import Interval, Placement, Plan, Waiting
from greenrun.store.columns import to_text
from greenrun.store.database import Database
from greenrun.store.tables import PLANS

_LAST = 1  # the id of the only row

_INSTANTS = ("start", "end", "due")
_OWN_FORM = (
    *_INSTANTS,
    "pieces",
    "reason",
    "promised",
    "shares",
)  # every other part of a placement is as plain as JSON
_PLAIN = tuple(field.name for field in fields(Placement) if field.name not in _OWN_FORM)
_SUMS = ("expected_g", "start_at_once_g", "earliest_start_g", "bound_g")


class PlanRepository:
    """Keeps the last plan."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save_plan(self, plan: Plan, *, now: datetime) -> None:
        """Keep a plan, in place of the last one."""
        values = {"release": __version__, "saved_at": now, "plan": plan_text(plan)}
        statement = upsert(PLANS).values(id=_LAST, **values)
        with self._database.write() as session:
            session.execute(statement.on_conflict_do_update(index_elements=[PLANS.c.id], set_=values))

    def last_plan(self) -> Plan | None:
        """Return the plan that was saved last; None when there is none of this release."""
        with self._database.read() as session:
            text = session.scalar(select(PLANS.c.plan).where(PLANS.c.id == _LAST, PLANS.c.release == __version__))
        return None if text is None else plan_of(text)


def plan_text(plan: Plan) -> str:
    """Return a plan as JSON; instants to the microsecond, numbers exactly."""
    parts = {
        "made_at": to_text(plan.made_at),
        "horizon_end": _text(plan.horizon_end),
        "placements": [_placement_parts(row) for row in plan.placements],
        "waiting": [[row.job_id, *_reason_parts(row.reason)] for row in plan.waiting],
        **{name: getattr(plan, name) for name in _SUMS},
        "prices": [[pool, to_text(at), price] for (pool, at), price in plan.prices.items()],
    }
    return json.dumps(parts, separators=(",", ":"))


def plan_of(text: str) -> Plan:
    """Return the plan that `plan_text` gave this text of."""
    parts = json.loads(text)
    return Plan(
        made_at=datetime.fromisoformat(parts["made_at"]),
        horizon_end=_instant(parts["horizon_end"]),
        placements=tuple(_placement_of(row) for row in parts["placements"]),
        waiting=tuple(Waiting(job_id=row[0], reason=_reason_of(row[1:])) for row in parts["waiting"]),
        **{name: parts.get(name) for name in _SUMS},
        prices={(pool, datetime.fromisoformat(at)): price for pool, at, price in parts["prices"]},
    )


def _placement_parts(row: Placement) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in _PLAIN},
        **{name: _text(getattr(row, name)) for name in _INSTANTS},
        "pieces": [_interval_parts(piece) for piece in row.pieces],
        "promised": None if row.promised is None else _interval_parts(row.promised),
        "reason": _reason_parts(row.reason),
        **({"shares": row.shares} if row.shares else {}),
    }


def _placement_of(parts: Mapping[str, Any]) -> Placement:
    """Return a placement; one saved before promises were kept has none."""
    values = {name: parts[name] for name in _PLAIN if name in parts}
    values |= {name: _instant(parts[name]) for name in _INSTANTS}
    values["signal"] = Signal(parts["signal"]) if parts.get("signal") else None
    pieces = tuple(_interval_of(piece) for piece in parts["pieces"])
    promised = _interval_of(parts["promised"]) if parts.get("promised") else None
    shares = tuple(tuple((tuple(devices), count) for devices, count in share) for share in parts.get("shares", ()))
    reason = _reason_of(parts["reason"])
    return Placement(**values, pieces=pieces, promised=promised, shares=shares, reason=reason)


def _interval_parts(interval: Interval) -> list[str]:
    return [to_text(instant) for instant in interval]


def _interval_of(piece: Sequence[str]) -> Interval:
    start, end = piece
    return datetime.fromisoformat(start), datetime.fromisoformat(end)


def _reason_parts(reason: Reason) -> list[str]:
    return [reason.code, reason.text]


def _reason_of(parts: Sequence[str]) -> Reason:
    code, text = parts
    return Reason(ReasonCode(code), text)


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else to_text(instant)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
