"""The power limit of a GPU that its driver enforces: what it is, what it may be, and what a job allows it to be."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import isfinite

SAME_W = 1.0  # limits that differ by no more are one: drivers round what they are told
LEAST_SHARE, MOST_SLOWDOWN = 0.1, 1.0
_PART = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>%|w)", re.IGNORECASE | re.ASCII)
_QUANTILE = re.compile(r"p(\d{1,2})", re.ASCII)
_FORM = '"70%", "210W" or "none", with ":slowdown=8%" and ":above=mean", p75 or 300 (g/kWh) behind it if need be'


class LimitFaultKind(StrEnum):
    """Why a power limit could not be read or set."""

    NO_RIGHTS = "no_rights"
    UNSUPPORTED = "unsupported"
    CHANGED = "changed"
    NOT_KEPT = "not_kept"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReading:
    """A device's power limit in W as its driver tells it, the bounds of what it may be set to, and its default."""

    limit_w: float
    least_w: float
    most_w: float
    default_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFault:
    """Why there is no answer about a device, in a sentence without a full stop; `limit_w` where it is known."""

    kind: LimitFaultKind
    why: str
    limit_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitChange:
    """Set a device's limit to `limit_w`, if it is `expected_w` now; without a `limit_w`, only read it.

    `source` names the meter that the device is one of, and with it its driver.
    """

    device: str
    source: str
    limit_w: float | None = None
    expected_w: float | None = None


LimitAnswer = LimitReading | LimitFault


class LimitEnd(StrEnum):
    """How a limit that was set for a run ended; LEFT is one that somebody else had changed, which is theirs now."""

    RESTORED = "restored"
    LEFT = "left"
    NOT_SET = "not_set"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPeriod:
    """A device's power limit set for a run: from what it was (`found_w`) to `set_w`, over `[since, until)`.

    It is kept before anything is set, so `kept_at`, from when it was seen to hold, may be None. `until` is None while
    it holds, and `end` with it. `intensity_g_per_kwh` was above `threshold_g_per_kwh` when it was set. `work_before`
    and `work_after` are what the run had said to have done by then, where it said anything.
    """

    id: int = 0
    device: str
    source: str
    run_id: int
    found_w: float
    set_w: float
    since: datetime
    intensity_g_per_kwh: float
    threshold_g_per_kwh: float
    kept_at: datetime | None = None
    until: datetime | None = None
    end: LimitEnd | None = None
    work_before: float | None = None
    work_after: float | None = None


def is_same(first_w: float, second_w: float) -> bool:
    """Whether two limits are one and the same, as far as drivers keep them."""
    return abs(first_w - second_w) <= SAME_W


class ThresholdKind(StrEnum):
    """What makes an hour a dirty one: to be above the mean or a quantile of the day ahead, or above a stated value."""

    MEAN = "mean"
    QUANTILE = "quantile"
    STATED = "stated"


@dataclass(frozen=True, slots=True, kw_only=True)
class DirtyThreshold:
    """From which intensity on an hour is dirty; `value` is the quantile (0 to 1), or the intensity in g/kWh."""

    kind: ThresholdKind = ThresholdKind.MEAN
    value: float = 0.0

    def __str__(self) -> str:
        if self.kind is ThresholdKind.MEAN:
            return "mean"
        return f"p{self.value * 100:.0f}" if self.kind is ThresholdKind.QUANTILE else f"{self.value:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerCap:
    """What a job allows of its GPUs in dirty hours: a share of each one's default limit, or watts per GPU.

    Neither stands for none at all. `slowdown` is by how much longer its user says it takes meanwhile (0.08 for 8 %),
    `above` when it is to be so, None where the settings say it.
    """

    share: float | None = None
    watts: float | None = None
    slowdown: float | None = None
    above: DirtyThreshold | None = None

    @property
    def is_none(self) -> bool:
        """Whether it allows no limit."""
        return self.share is None and self.watts is None

    @property
    def limit_text(self) -> str:
        """The limit alone, as `70%` or `210W`."""
        if self.share is not None:
            return f"{self.share * 100:g}%"
        return "none" if self.watts is None else f"{self.watts:g}W"

    def __str__(self) -> str:
        parts = [self.limit_text]
        parts += [] if self.slowdown is None else [f"slowdown={self.slowdown * 100:g}%"]
        parts += [] if self.above is None else [f"above={self.above}"]
        return ":".join(parts)

    def limit_w(self, now: LimitReading) -> float | None:
        """Return the limit for a device in W, within its bounds; None if that is no lower than what it has now."""
        if self.is_none:
            return None
        wanted = self.share * now.default_w if self.share is not None else self.watts or 0.0
        limit_w = max(now.least_w, min(wanted, now.most_w))
        return limit_w if limit_w < now.limit_w - SAME_W else None


def parse_power_cap(text: str) -> PowerCap:
    """Return what the text states; raise ValueError that says how to write it."""
    limit, *rest = (part.strip() for part in text.split(":"))
    share, watts = _limit(limit)
    stated: dict[str, str] = {}
    for part in rest:
        name, equals, value = part.partition("=")
        if not equals or name.strip() not in ("slowdown", "above") or name.strip() in stated:
            raise ValueError(f"must be like {_FORM}; {part!r} is not")
        stated[name.strip()] = value.strip()
    if share is None and watts is None and stated:
        raise ValueError("must be none alone: where nothing is limited, nothing takes longer")
    slowdown = _slowdown(stated["slowdown"]) if "slowdown" in stated else None
    above = parse_threshold(stated["above"]) if "above" in stated else None
    return PowerCap(share=share, watts=watts, slowdown=slowdown, above=above)


def parse_threshold(text: str) -> DirtyThreshold:
    """Return from which intensity on an hour is dirty; raise ValueError."""
    said = text.strip().lower()
    if said == "mean":
        return DirtyThreshold()
    if (found := _QUANTILE.fullmatch(said)) and int(found[1]) >= 1:
        return DirtyThreshold(kind=ThresholdKind.QUANTILE, value=int(found[1]) / 100)
    try:
        value = float(said)
    except ValueError:
        value = -1.0
    if not isfinite(value) or not 0 <= value <= 5000:
        raise ValueError(f"{text!r} is no threshold: write mean, p1 to p99, or a number of g/kWh up to 5000")
    return DirtyThreshold(kind=ThresholdKind.STATED, value=value)


def _limit(text: str) -> tuple[float | None, float | None]:
    if text.lower() == "none":
        return None, None
    found = _PART.fullmatch(text)
    if found is None:
        raise ValueError(f"must be like {_FORM}; {text!r} is not")
    number = float(found["number"])
    if found["unit"] == "%":
        if not LEAST_SHARE <= number / 100 < 1:
            raise ValueError(f"must be from {LEAST_SHARE * 100:g}% to less than 100% of the GPU's default limit")
        return number / 100, None
    if not 1 <= number <= 10_000:
        raise ValueError("must be from 1W to 10000W for each GPU")
    return None, number


def _slowdown(text: str) -> float:
    found = _PART.fullmatch(text)
    share = float(found["number"]) / 100 if found and found["unit"] == "%" else -1.0
    if not 0 <= share <= MOST_SLOWDOWN:
        raise ValueError(f"slowdown must be from 0% to {MOST_SLOWDOWN * 100:g}%, like 8%; {text!r} is not")
    return share
