"""[fair_share]: how contended GPUs are shared among users or projects."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from greenrun.core.planning.precedence.fair_share import LEAST_SHARES, MOST_SHARES, AccountOf, Shares
from greenrun.providers.settings import PositiveDuration, Section

Share = Annotated[float, Field(ge=LEAST_SHARES, le=MOST_SHARES, allow_inf_nan=False)]
Account = Annotated[str, Field(min_length=1, max_length=64)]


class FairShareSettings(Section):
    """[fair_share]; whom `shares` does not name has one share."""

    by: AccountOf = AccountOf.NOBODY
    shares: dict[Account, Share] = Field(default_factory=dict)
    half_life: PositiveDuration = timedelta(days=7)
    quantum: PositiveDuration = timedelta(hours=6)

    @property
    def in_effect(self) -> Shares:
        """What the planner goes by."""
        return Shares(by=self.by, weights=dict(self.shares), half_life=self.half_life, quantum=self.quantum)
