"""How long a run is expected to last, once it is longer than its stated duration."""

from datetime import timedelta
from math import floor, log

OVERRUN = 1.1
SHORTEST = timedelta(milliseconds=50)


def expected_length(duration: timedelta, age: timedelta) -> timedelta:
    """Return how long a run of this `age` is expected to last: its duration, and a tenth more whenever that is over.

    The estimate stays the same until it is over, so that a late run does not change the plan at every look at it.
    """
    if age < duration:
        return duration
    usual = max(duration, SHORTEST)
    times = floor(log(max(1.0, age / usual)) / log(OVERRUN)) + 1
    length = usual * float(OVERRUN**times)
    return length if length > age else usual * float(OVERRUN ** (times + 1))  # the logarithm is rounded
