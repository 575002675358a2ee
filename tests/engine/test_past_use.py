"""Each run counts once for its user's past use, however often and when somebody looks."""

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import pytest

from greenrun.core.jobs.history import GpuTime
from greenrun.core.jobs.job import Job, Run, State
from greenrun.core.planning.precedence.fair_share import AccountOf, Shares
from greenrun.engine.past_use import PastUse
from tests.core.build import T0, job

SHARES = Shares(by=AccountOf.USER, half_life=timedelta(days=1))
QUEUED = [replace(job(1000), user="ada"), replace(job(1001), user="bob")]
MINUTE = timedelta(minutes=1)


class Runs:
    """Runs with the instants at which they start and end, as a store has them."""

    def __init__(self, count: int, dice: Random) -> None:
        self.now = T0
        self.rows = []
        for number in range(1, count + 1):
            start = T0 + dice.randrange(3000) * MINUTE
            self.rows.append((number, dice.choice(["ada", "bob"]), dice.randrange(4), start, dice.randrange(1, 900)))
        self.rows = [(number, *row[1:]) for number, row in enumerate(sorted(self.rows, key=lambda row: row[3]), 1)]

    def gpu_time(self, *, after: int, among: object, since: datetime) -> list[GpuTime]:
        return [
            GpuTime(run_id=number, user=user, project="p", gpus=gpus, start=start, end=start + length * MINUTE)
            for number, user, gpus, start, length in self.rows
            if gpus and since <= start + length * MINUTE <= self.now and (number > after or number in among)  # type: ignore[operator]
        ]

    def live(self) -> list[tuple[Run, Job]]:
        return [
            (
                Run(id=number, job_id=number, number=1, token=str(number), devices=("x",) * gpus, claimed_at=start),
                replace(job(number), user=user, state=State.RUNNING),
            )
            for number, user, gpus, start, length in self.rows
            if start <= self.now < start + length * MINUTE
        ]

    def true_s(self, user: str) -> float:
        """What a user has used and is still to use of runs that are live, summed anew from every run."""
        used_s = 0.0
        for _, whose, gpus, start, length in self.rows:
            if whose == user and start <= self.now:
                end = start + length * MINUTE
                used_s += gpus * SHARES.decayed_s(start, min(end, self.now), self.now)
                used_s += gpus * max(0.0, (end - self.now).total_seconds())
        return used_s

    def end(self, run: Run, _: Job) -> datetime:
        number, _user, _gpus, start, length = self.rows[run.id - 1]
        assert number == run.id
        return start + length * MINUTE


@pytest.mark.parametrize("seed", range(4))
def test_each_run_counts_once_whenever_somebody_looks(seed: int) -> None:
    dice = Random(seed)
    runs = Runs(60, dice)
    use = PastUse(runs)  # type: ignore[arg-type]
    minutes = sorted(dice.sample(range(4000), 25))
    for minute in minutes:
        runs.now = T0 + minute * MINUTE
        told = use.used_s(QUEUED, runs.live(), SHARES, runs.now, runs.end)
        for user in ("ada", "bob"):
            assert told.get(user, 0.0) == pytest.approx(runs.true_s(user), rel=1e-9, abs=1e-6)


def test_while_one_user_waits_nothing_is_read() -> None:
    class Unread:
        def gpu_time(self, **_: object) -> list[GpuTime]:
            raise AssertionError("read")

    assert PastUse(Unread()).used_s(QUEUED[:1], [], SHARES, T0, Runs.end) == {}  # type: ignore[arg-type]


def test_other_settings_and_a_clock_set_back_count_anew() -> None:
    runs = Runs(20, Random(5))
    use, anew = PastUse(runs), PastUse(runs)  # type: ignore[arg-type]
    runs.now = T0 + 3000 * MINUTE
    use.used_s(QUEUED, runs.live(), SHARES, runs.now, runs.end)
    runs.now -= 500 * MINUTE
    slower = replace(SHARES, half_life=timedelta(days=9))
    for shares in (SHARES, slower):
        told = use.used_s(QUEUED, runs.live(), shares, runs.now, runs.end)
        assert told == pytest.approx(anew.used_s(QUEUED, runs.live(), shares, runs.now, runs.end))
