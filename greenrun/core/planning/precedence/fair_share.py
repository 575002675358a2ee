"""Whose jobs go first where several accounts want more GPU time than there is: shares, past use and rounds.

It is deficit round robin (Shreedhar and Varghese 1995) on top of decayed use as Slurm's fair-share has it: what was
used counts half after every half-life. The time of the GPUs is handed out in rounds of one quantum, of which each
account that has jobs waiting gets its share; whoever has used more than the others has its turn that much later. Jobs
of an earlier round go before those of a later one; of one round, only priorities, limits and emissions count. While all
that waits fits into one round, that is the only one, and shares change nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from greenrun.core.formatting import duration_text
from greenrun.core.jobs.job import Job

LEAST_SHARES, MOST_SHARES = 0.001, 1000.0
MOST_ROUNDS = 8  # told apart; what comes later is far away, and each round is planned alone
_LITTLE_H = 0.05


class AccountOf(StrEnum):
    """Among whom GPUs are shared; among nobody, everybody competes by limits, priority and grams alone."""

    NOBODY = "nobody"
    USER = "user"
    PROJECT = "project"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How GPUs are shared among accounts: an account has so many shares, one where it is not named.

    `quantum` is how much of the time of all GPUs one round hands out.
    """

    by: AccountOf = AccountOf.NOBODY
    weights: Mapping[str, float] = field(default_factory=dict)
    half_life: timedelta = timedelta(days=7)
    quantum: timedelta = timedelta(hours=6)

    def account(self, user: str, project: str) -> str:
        """Return which account a job of this user and project belongs to."""
        return {AccountOf.NOBODY: "", AccountOf.USER: user, AccountOf.PROJECT: project}[self.by]

    def weight(self, account: str) -> float:
        """Return how many shares an account has."""
        return self.weights.get(account, 1.0)

    def decay(self, age: timedelta) -> float:
        """Return how much what was used so long ago counts, as a share of what is used now."""
        return float(2 ** -(age / self.half_life))

    def decayed_s(self, start: datetime, end: datetime, now: datetime) -> float:
        """Return the seconds of `[start, end)` as they count `now`: the integral of 2^(-age / half-life)."""
        rate = math.log(2) / self.half_life.total_seconds()
        oldest_s, newest_s = (max(0.0, (now - at).total_seconds()) for at in (start, end))
        return max(0.0, math.exp(-rate * newest_s) - math.exp(-rate * oldest_s)) / rate


def rounds(jobs: Sequence[Job], shares: Shares, used_s: Mapping[str, float], gpus: int) -> list[int]:
    """Return in which round each queued job has its turn, from 0 on.

    `used_s` are decayed GPU-seconds by account, with what is still expected of live runs. The jobs of an account have
    theirs in order of priority, then of submission.
    """
    accounts = [shares.account(job.user, job.spec.project) for job in jobs]
    waiting = dict.fromkeys(accounts)
    if len(waiting) < 2 or not gpus:
        return [0] * len(jobs)
    told_s = {account: used_s.get(account, 0.0) / shares.weight(account) for account in waiting}
    least_s = min(told_s.values())
    round_s = shares.quantum.total_seconds() * gpus / sum(map(shares.weight, waiting))
    found = [0] * len(jobs)
    for row in _in_turn(jobs):
        account = accounts[row]
        found[row] = min(MOST_ROUNDS - 1, int((told_s[account] - least_s) / round_s))
        told_s[account] += jobs[row].spec.gpus * jobs[row].remaining.total_seconds() / shares.weight(account)
    return found


def _in_turn(jobs: Sequence[Job]) -> Iterable[int]:
    return sorted(range(len(jobs)), key=lambda row: (-jobs[row].spec.priority, jobs[row].submitted_at, jobs[row].id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Which account each row belongs to, how many shares that has, and what accounts have used for each of them."""

    accounts: tuple[str, ...]
    weights: tuple[float, ...]
    used_s: Mapping[str, float]


def standing(jobs: Sequence[Job], shares: Shares, used_s: Mapping[str, float]) -> Standing:
    """Return where the accounts of these jobs stand; `used_s` are decayed GPU-seconds by account."""
    accounts = tuple(shares.account(job.user, job.spec.project) for job in jobs)
    return Standing(
        accounts=accounts,
        weights=tuple(map(shares.weight, accounts)),
        used_s={account: used_s.get(account, 0.0) / shares.weight(account) for account in set(accounts)},
    )


def turn_text(job_id: int, jobs: Sequence[Job], shares: Shares, used_s: Mapping[str, float], gpus: int) -> str | None:
    """Return a sentence on when a queued job has its turn and why; None where shares make no difference."""
    found = rounds(jobs, shares, used_s, gpus)
    row = next((row for row, job in enumerate(jobs) if job.id == job_id), None)
    if row is None or not any(found):
        return None
    accounts = {shares.account(job.user, job.spec.project) for job in jobs}
    own = shares.account(jobs[row].user, jobs[row].spec.project)
    told_s = {account: used_s.get(account, 0.0) / shares.weight(account) for account in accounts}
    more_h = (told_s[own] - min(told_s.values())) / 3600
    few = more_h < _LITTLE_H
    lately = f"nobody has used less than {own}" if few else f"{own} has used {more_h:.1f} GPU-hours more than others"
    late = " or later" if found[row] == MOST_ROUNDS - 1 else ""
    return (
        f"{len(accounts)} {shares.by}s share the GPUs in rounds of {duration_text(shares.quantum)} of all of them:"
        f" by use for each share, halved every {duration_text(shares.half_life)}, {lately}, so that this job has its"
        f" turn in round {found[row] + 1}{late}."
    )


def precedence(jobs: Sequence[Job], turns: Sequence[int]) -> tuple[int, ...]:
    """Return a number for each queued job: of those that compete the higher goes first, by round and then by priority.

    Rounds come first because everybody sets the priorities of their own jobs, and nobody their share.
    """
    pairs = [(-nth, job.spec.priority) for job, nth in zip(jobs, turns, strict=True)]
    places = {pair: place for place, pair in enumerate(sorted(set(pairs)))}
    return tuple(places[pair] for pair in pairs)
