"""What a project's jobs of one user used in a period, and the period that another is compared with."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from greenrun.core.carbon.intensity import SeriesId


class Owner(NamedTuple):
    """Whose a job is: the number of an account, and the name that it had then; either may have become another's."""

    uid: int
    name: str


def owner_labels(owners: Sequence[Owner]) -> list[str]:
    """Return what rows call these owners: by name, and where several accounts had that by their numbers too."""
    accounts = Counter(owner.name for owner in owners)
    return [each.name if accounts[each.name] == 1 else f"{each.name} (uid {each.uid})" for each in owners]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Known energy and grams that one series priced; project and owner are None for what nobody held."""

    project: str | None
    owner: Owner | None
    series: SeriesId | None
    energy_j: float | None
    emissions_g: float | None


def previous_period(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Return the period before: of whole months (UTC) as many before, else what is as long."""
    first, last = start.astimezone(UTC), end.astimezone(UTC)
    if not (_is_month(first) and _is_month(last)):
        return start - (end - start), start
    count = _months(last) - _months(first)
    year, month = divmod(_months(first) - count, 12)
    return first.replace(year=year, month=month + 1), start


def _is_month(at: datetime) -> bool:
    return at.day == 1 and at - at.replace(hour=0, minute=0, second=0, microsecond=0) == timedelta(0)


def _months(at: datetime) -> int:
    return 12 * at.year + at.month - 1
