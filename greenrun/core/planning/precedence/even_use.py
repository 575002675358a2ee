"""Let jobs of one round trade places, so that no account runs ahead of others in the time of its use.

Rounds say who chooses first, and not when: the clean hours that are chosen may lie far ahead, and until then whatever
finds no better place runs. There the account that has used least so far is to run first, as in weighted fair queueing
(Demers, Keshav and Shenker 1989), where that costs others nothing and the two that trade next to nothing.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import islice

from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.precedence.fair_share import Standing
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.costing import Place
from greenrun.core.planning.scheduling.schedule import Schedule

MOST_TRADES = 64  # rows whose places are offered, the first to start first: later ones are planned again before they do
MOST_TRIED = 8  # rows that are asked to take one
DEARER = 1.02  # what two that trade may emit, of what they emitted before


def even_use(made: Schedule, problem: PlanningProblem, fixed: Collection[int]) -> None:
    """Give the places that come first to rows of accounts that have used less, of the same precedence."""
    standing = problem.standing
    if standing is None:
        return
    bound = problem.tied.union(problem.running, problem.flexible, problem.start_thresholds, problem.out_of_reach)
    stay = bound.union(fixed)
    order = sorted(made.places.keys() - stay, key=lambda row: (made.places[row].start_s, row))
    used_s = dict(standing.used_s)
    for nth in range(min(MOST_TRADES, len(order))):
        row = order[nth]
        for later in islice(_behind(problem, standing, used_s, order, nth), MOST_TRIED):
            if _trade(made, problem, row, order[later]):
                order[nth], order[later] = order[later], row
                break
        own = order[nth]
        used_s[standing.accounts[own]] += _takes_s(problem, standing, own)


def _behind(
    problem: PlanningProblem, standing: Standing, used_s: dict[str, float], order: list[int], nth: int
) -> Iterator[int]:
    """Yield where later rows of the same precedence stand whose accounts would still have used less."""
    row = order[nth]
    most_s = used_s[standing.accounts[row]] + _takes_s(problem, standing, row)
    for later in range(nth + 1, len(order)):
        other = order[later]
        account = standing.accounts[other]
        if account == standing.accounts[row] or problem.precedence[other] != problem.precedence[row]:
            continue
        if used_s[account] + _takes_s(problem, standing, other) <= most_s:
            yield later


def _takes_s(problem: PlanningProblem, standing: Standing, row: int) -> float:
    """Return the GPU-seconds that a row takes of each of its account's shares."""
    demands = problem.rows.demands
    return float(demands.units[row] * demands.length_s[row]) / standing.weights[row]


def _trade(made: Schedule, problem: PlanningProblem, early: int, late: int) -> bool:
    """Put the later row where the early one is, and that where it was, or else where it emits least; False if neither.

    Then nothing has changed.
    """
    missed, before = made.missed, (made.places[early], made.places[late])
    first, second = before
    if second.start_s <= first.start_s + EPSILON_S:
        return False
    made.remove(early)
    made.remove(late)
    if taken := _taking(made, problem, late, first):
        made.put(late, taken)
        given = _taking(made, problem, early, second) or made.cheapest(early)
        if given is not None:
            made.put(early, replace(given, cost=given.grams))
            if made.missed <= missed and taken.grams + given.grams <= DEARER * (first.grams + second.grams):
                return True
            made.remove(early)
        made.remove(late)
    made.put(early, first)
    made.put(late, second)
    return False


def _taking(made: Schedule, problem: PlanningProblem, row: int, place: Place) -> Place | None:
    """Return the place of a row that starts where another did; None where it does not fit, or would be late."""
    demands, start_s = problem.rows.demands, place.start_s
    in_time = demands.release_s[row] - EPSILON_S <= start_s <= demands.latest_s[row] + EPSILON_S
    if not in_time or place.pool not in demands.pools[row]:
        return None
    end_s, units, mw = (
        start_s + float(demands.length_s[row]),
        int(demands.units[row]),
        demands.of_power(row, place.pool),
    )
    if not made.pools[place.pool].is_free(start_s, end_s, units, mw):
        return None
    found = made.value.place_at(row, start_s, place.pool)
    return replace(found, cost=found.grams)
