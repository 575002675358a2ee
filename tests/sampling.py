"""How much of a long promise a run of the tests tries: all of it, or a part that a seed draws and the report names."""

import os
from collections.abc import Sequence
from enum import IntEnum
from random import Random, SystemRandom
from typing import TypeVar

from hypothesis import HealthCheck, settings

T = TypeVar("T")


class Effort(IntEnum):
    """What a run of the tests is for: each tries more than the one before."""

    USER = 0  # `make test` on a user's machine, in minutes
    CI = 1  # `.ci/run`, where nothing may be wanting (GREENRUN_REQUIRE_ALL=1)
    LONG = 2  # `make test-long`: everything there is (GREENRUN_TEST_LONG=1)


def _effort() -> Effort:
    if os.environ.get("GREENRUN_TEST_LONG") == "1":
        return Effort.LONG
    return Effort.CI if os.environ.get("GREENRUN_REQUIRE_ALL") == "1" else Effort.USER


EFFORT = _effort()
# Set once and inherited by every worker of xdist, which must all collect the same tests.
SEED = int(os.environ.setdefault("GREENRUN_TEST_SEED", str(SystemRandom().randrange(10**6))))


def dice(label: str) -> Random:
    """Return the random numbers of one promise, the same wherever the seed and the label are."""
    return Random(f"{SEED} {label}")


def sampled(everything: Sequence[T], label: str, *, user: int, ci: int) -> list[T]:
    """Return so many of them, in their order, as this run tries; every one with `make test-long`."""
    count = (user, ci, len(everything))[EFFORT]
    chosen = dice(label).sample(range(len(everything)), min(count, len(everything)))
    return [everything[index] for index in sorted(chosen)]


def left_out(modules: Sequence[str], label: str, *, user: float, effort: Effort = EFFORT) -> list[str]:
    """Return the modules that a run on a user's machine does not try: all but this part of them; none elsewhere."""
    if effort is not Effort.USER:
        return []
    tried = dice(label).sample(modules, round(len(modules) * user))
    return [module for module in modules if module not in tried]


def examples(count: int) -> settings:
    """Return settings for a quarter of so many examples on a user's machine, half in CI, four times as many in long."""
    return settings(max_examples=_scaled(count))


def _scaled(count: int) -> int:
    return max(2, round(count * (1 / 4, 1 / 2, 4)[EFFORT]))


settings.register_profile(
    "greenrun",
    max_examples=_scaled(settings.default.max_examples),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("greenrun")
