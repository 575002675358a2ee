"""A pause of all starts while this machine cannot start anything: what is lacking is no job's fault."""

from datetime import datetime, timedelta

from greenrun.core.formatting import instant_text
from greenrun.core.jobs.reasons import Reason, ReasonCode, because

FIRST = timedelta(seconds=5)
LONGEST = timedelta(minutes=5)


class StartPause:
    """Grows with each start in a row that the machine could not make, and is over with the first that it could."""

    def __init__(self) -> None:
        self.what = ""
        self.since: datetime | None = None
        self.until: datetime | None = None
        self._length = FIRST

    def extend(self, what: str, now: datetime) -> None:
        """Start nothing for a while, because the machine lacks `what`; what fails together is one failure."""
        if self.is_on(now):
            return
        since = now if self.since is None or self.since > now else self.since  # ... once the clock was set back
        self.what, self.since, self.until = what, since, now + self._length
        self._length = min(2 * self._length, LONGEST)

    def end(self) -> None:
        """Begin anew: something could be started."""
        self.since = self.until = None
        self._length = FIRST

    def is_on(self, now: datetime) -> bool:
        """Whether nothing is to be started now; not so once the clock was set back to before the pause."""
        return self.until is not None and self.since is not None and self.since <= now < self.until

    @property
    def reason(self) -> Reason:
        """Why a job that was to start waits; only once there is a pause."""
        return because(ReasonCode.HOST_SHORT, what=self.what, at=instant_text(self.until))
