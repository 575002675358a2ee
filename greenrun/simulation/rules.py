"""The policies that a simulation can compare, by the names under which a user asks for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

from greenrun.core.errors import Problem
from greenrun.simulation import policies
from greenrun.simulation.policies import Rule, Sight

GREENRUN, AT_ONCE = "greenrun", "start-at-once"
DEFAULT = (GREENRUN, AT_ONCE, "own-best-window")

_WHOLE: dict[str, tuple[str, Callable[[Sight], Rule]]] = {
    AT_ONCE: ("each job starts as soon as GPUs are free", lambda sight: policies.start_at_once),
    "own-best-window": ("each job's cleanest window, as if it were alone (CATS, Carbon Aware SDK)",
                        policies.own_best_window),
    "lowest-slot": ("each job starts with the single cleanest slot (GAIA)", policies.lowest_slot),
    "carbon-time": ("most carbon saved per second until the job is complete (GAIA)", policies.carbon_time),
}  # fmt: skip
_NUMBERED: dict[str, tuple[str, float, Callable[[Sight, float], Rule]]] = {
    "threshold": ("start at or under {number:g} g/kWh", 5_000.0, policies.threshold),
    "percentile": ("start at or under the {number:g}th percentile of the day ahead (Ecovisor)", 100.0,
                   policies.percentile),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy by name, one line on what it does, and its rule; None for greenrun's own, which is no such rule."""

    name: str
    what: str
    rule: Callable[[Sight], Rule] | None = None


def policies_of(names: Sequence[str], problems: list[Problem]) -> list[Policy]:
    """Return the named policies, each once and the default ones when none is named; add what is wrong to `problems`."""
    found = {}
    for name in names or DEFAULT:
        policy = _policy(name.strip().lower())
        if policy is None:
            known = ", ".join([GREENRUN, *_WHOLE, *(f"{head}:N" for head in _NUMBERED)])
            problems.append(Problem(field="--policy", message=f"{name[:40]!r} is none of {known}"))
        else:
            found[policy.name] = policy
    return list(found.values())


def _policy(name: str) -> Policy | None:
    if name == GREENRUN:
        return Policy(name=name, what="all jobs planned together, again at every change")
    if name in _WHOLE:
        what, rule = _WHOLE[name]
        return Policy(name=name, what=what, rule=rule)
    head, _, text = name.partition(":")
    number = _number(text)
    if head not in _NUMBERED or number is None or not 0 <= number <= _NUMBERED[head][1]:
        return None
    return _numbered(head, number)


def _numbered(head: str, number: float) -> Policy:
    what, _, make = _NUMBERED[head]
    return Policy(name=f"{head}:{number:g}", what=what.format(number=number), rule=lambda sight: make(sight, number))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None
