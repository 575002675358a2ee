"""How much memory, CPU and disk jobs may use: what the site says, what this machine has, what those that run leave."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from greenrun.core.errors import InputProblem
from greenrun.core.formatting import number_text
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.jobs.spec import JobSpec

LIMITED = ("memory_gib", "cpus", "io_weight")
ADDED_UP = ("memory_gib", "cpus")  # of what there is so much and no more
ROUNDING = 1e-9
_OPTIONS = {"memory_gib": "--mem", "cpus": "--cpus", "io_weight": "--io-weight"}
_SETTINGS = {"memory_gib": "memory_max", "cpus": "cpus_max", "io_weight": "io_weight_max"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRules:
    """By field of a job: what one gets that asks for nothing (`usual`), the `most` that one may ask for, what there is.

    `why_not` says of what cannot be limited here why; nothing of that may be asked for.
    """

    usual: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)
    there: Mapping[str, float] = field(default_factory=dict)
    why_not: Mapping[str, str] = field(default_factory=dict)

    def with_usual(self, spec: JobSpec) -> JobSpec:
        """Return a job with the site's limits where it states none of its own."""
        found = {name: self._usual(name) for name in LIMITED if getattr(spec, name) is None}
        given = {name: value for name, value in found.items() if value is not None}
        if "io_weight" in given:
            return replace(spec, **{**given, "io_weight": int(given["io_weight"])})  # type: ignore[arg-type]
        return replace(spec, **given) if given else spec  # type: ignore[arg-type]

    def problems(self, spec: JobSpec) -> Iterator[InputProblem]:
        """Yield which limits cannot be had: not kept here, above the site's, or more than this machine has."""
        for name in LIMITED:
            asked = getattr(spec, name)
            if asked is not None and (why := self._why_refused(name, asked)):
                yield InputProblem(field=name, message=why)

    def _usual(self, name: str) -> float | None:
        """Return what a job gets that does not say; where there is a maximum, no job is without a limit."""
        usual, most = self.usual.get(name), self.most.get(name)
        if usual is None:
            return most
        return usual if most is None else min(usual, most)

    def _why_refused(self, name: str, asked: float) -> str | None:
        if name in self.why_not:
            return f"{self.why_not[name]}: leave {_OPTIONS[name]} out"
        most, there = self.most.get(name), self.there.get(name)
        if most is not None and asked > most * (1 + ROUNDING):
            return (
                f"asks for {amount_text(name, asked)}, more than the {amount_text(name, most)} that a job may have "
                f"here ([limits] {_SETTINGS[name]}): ask for less"
            )
        if there is not None and asked > there * (1 + ROUNDING):
            return f"asks for {amount_text(name, asked)}, and this machine has {amount_text(name, there)}: ask for less"
        return None


def lacking(spec: JobSpec, running: Collection[JobSpec], there: Mapping[str, float]) -> Reason | None:
    """Return what a job has to wait for, since those that run have been given the rest; None where it may start.

    Jobs without a limit are counted as nothing.
    """
    for name in ADDED_UP:
        asked, total = getattr(spec, name), there.get(name)
        if asked is None or total is None:
            continue
        given = sum(getattr(each, name) or 0.0 for each in running)
        if given and given + asked > total * (1 + ROUNDING):
            return because(
                ReasonCode.RESOURCES_BUSY,
                asked=amount_text(name, asked),
                given=amount_text(name, given),
                total=amount_text(name, total),
            )
    return None


def amount_text(name: str, amount: float) -> str:
    """Say how much of something, such as `32 GiB of memory`."""
    number = number_text(round(amount, 2))
    if name == "memory_gib":
        return f"{number} GiB of memory"
    return f"{number} CPU{'' if number == '1' else 's'}" if name == "cpus" else f"a weight of {number}"
