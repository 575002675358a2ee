"""What each device drew lately, as the books have it: counters that move a minute at a time do not tell that."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import fsum, isclose

from greenrun.core.energy.model import Component, Slice

OVER = timedelta(minutes=5)  # whole minutes: all slices are cut there
LATEST = timedelta(minutes=3)  # what ended longer ago is not what a device draws now


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanPower:
    """What a device drew in the mean over OVER, in watts, and the part of it that no run held."""

    device: str
    component: Component
    power_w: float
    unattributed_w: float


def mean_powers(slices: Iterable[Slice], now: datetime) -> list[MeanPower]:
    """Return the mean power of each device over the last whole minutes that are booked.

    One of which any part of that time is unknown is left out, and so is one that was last booked LATEST ago.
    """
    of_device: defaultdict[str, list[Slice]] = defaultdict(list)
    for piece in slices:
        of_device[piece.device].append(piece)
    found = (_mean_power(pieces, now) for _, pieces in sorted(of_device.items()))
    return [row for row in found if row is not None]


def _mean_power(pieces: Sequence[Slice], now: datetime) -> MeanPower | None:
    until = max(piece.end for piece in pieces).replace(second=0, microsecond=0)
    since = until - OVER
    inside = [(piece, part) for piece in pieces if (part := _part(piece, since, until)) > 0]
    filled_s = fsum(part * (piece.end - piece.start).total_seconds() * piece.share for piece, part in inside)
    is_known = isclose(filled_s, OVER.total_seconds()) and all(piece.energy_j is not None for piece, _ in inside)
    if not is_known or now - until > LATEST:
        return None
    used = [(piece.run_id, part * (piece.energy_j or 0.0)) for piece, part in inside]
    return MeanPower(
        device=pieces[0].device,
        component=pieces[0].component,
        power_w=fsum(used_j for _, used_j in used) / OVER.total_seconds(),
        unattributed_w=fsum(used_j for run, used_j in used if run is None) / OVER.total_seconds(),
    )


def _part(piece: Slice, since: datetime, until: datetime) -> float:
    """Return the part of a slice that is in this time; one over a gap is longer than a minute."""
    return (min(piece.end, until) - max(piece.start, since)) / (piece.end - piece.start)
