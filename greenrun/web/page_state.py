"""What the pages of one daemon share: what was made a moment ago, and how many of them are open."""

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from greenrun.api.service import Service
from greenrun.web.month_summary import MonthSummary
from greenrun.web.snapshots import Snapshots
from greenrun.web.stream import Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class PageState:
    """Snapshots of the first page, this month's sums, and the open streams."""

    snapshots: Snapshots
    month: MonthSummary
    streams: Streams = field(default_factory=Streams)

    @classmethod
    def by(cls, daemon: Service) -> "PageState":
        """Return what the pages of this daemon share, of which nothing is made yet."""
        return cls(snapshots=Snapshots(daemon), month=MonthSummary(daemon))


async def _page_state(request: Request) -> PageState:  # async: a plain function would be handed to a thread
    found: PageState = request.app.state.page
    return found


PageStateDep = Annotated[PageState, Depends(_page_state)]
