"""The drivers of GPUs as a scripted world has them: power limits that outlive any crash of the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from greenrun.core.energy.power_limit import (
    LimitAnswer,
    LimitChange,
    LimitFault,
    LimitFaultKind,
    LimitReading,
    is_same,
)

DEFAULT_W, LEAST_W, MOST_W = 350.0, 140.0, 350.0


@dataclass
class LimitedGpus:
    """A `ports.PowerLimits` over numbers. `ours` are all limits that were set through it, by device, in order.

    `faults` are answered instead, by device; after a `lost_answer` the change is done, and nobody hears of it.
    `grid_w` is what the driver rounds to.
    """

    limits_w: dict[str, float] = field(default_factory=dict)
    faults: dict[str, LimitFaultKind] = field(default_factory=dict)
    lost_answers: set[str] = field(default_factory=set)
    grid_w: float = 0.0
    ours: list[tuple[str, float]] = field(default_factory=list)
    calls: int = 0

    def change(self, changes: Sequence[LimitChange]) -> Mapping[str, LimitAnswer]:
        self.calls += 1
        return {change.device: self._answer(change) for change in changes}

    def limit_w(self, device: str) -> float:
        return self.limits_w.get(device, DEFAULT_W)

    def _answer(self, change: LimitChange) -> LimitAnswer:
        now_w, fault = self.limit_w(change.device), self.faults.get(change.device)
        if fault is LimitFaultKind.UNREACHABLE:
            return LimitFault(kind=fault, why="the driver does not answer")
        if change.limit_w is None:
            return self._reading(change.device)
        if change.expected_w is not None and not is_same(now_w, change.expected_w):
            return LimitFault(kind=LimitFaultKind.CHANGED, why="somebody else has changed it", limit_w=now_w)
        if fault is not None and fault is not LimitFaultKind.NOT_KEPT:
            return LimitFault(kind=fault, why="only root may")
        wrong = 30.0 if fault is LimitFaultKind.NOT_KEPT and change.limit_w < DEFAULT_W else 0.0
        limit_w = round(change.limit_w / self.grid_w) * self.grid_w if self.grid_w else change.limit_w
        self.limits_w[change.device] = limit_w + wrong
        self.ours.append((change.device, self.limits_w[change.device]))
        if change.device in self.lost_answers:
            return LimitFault(kind=LimitFaultKind.UNREACHABLE, why="the driver does not answer")
        if wrong:
            return LimitFault(kind=LimitFaultKind.NOT_KEPT, why="it reads more", limit_w=self.limits_w[change.device])
        return self._reading(change.device)

    def _reading(self, device: str) -> LimitReading:
        return LimitReading(limit_w=self.limit_w(device), least_w=LEAST_W, most_w=MOST_W, default_w=DEFAULT_W)
