"""Read the size of the job to estimate from alternative options; all problems are reported together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import TypeVar

from greenrun.core.errors import GreenrunError, InputProblem, InvalidJob
from greenrun.core.formatting import iso_text, number_text
from greenrun.core.jobs.estimate import Figure, gpu_hours, nominal_power, training_flops
from greenrun.core.reference.gpu_models import GpuModel, find_model
from greenrun.submission.local_zone import told_instant
from greenrun.submission.times import parse_duration

LONGEST = timedelta(days=3660)
MOST_GPUS = 1_000_000

T = TypeVar("T")
Options = Mapping[str, str | None]  # by long name, without dashes before it
_WORK = "say how much work it is: --gpu-hours H, or --flops F --mfu U, or --params N --tokens D --mfu U"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A job to estimate: `hours` are GPU-hours, `power_w` is for the whole job; `latest` None: no limit was given."""

    gpus: int
    model: GpuModel | None
    hours: Figure
    duration: timedelta
    power_w: Figure
    at: datetime
    latest: datetime | None
    pue: float | None


def read_size(given: Options, *, now: datetime) -> Size:
    """Return the size that the options state; raise InvalidJob with all their problems."""
    reading = _Reading(given)
    gpus = int(reading.number("gpus", 1, MOST_GPUS, whole=True) or 1)
    pue = reading.number("pue", 1, 5)
    at = reading.instant("at", now) or now
    power_w, model = _power(reading, gpus)
    hours = _hours(reading, gpus, model)
    finish_by, delay = reading.instant("finish-by", at), reading.span("max-delay")
    if given.get("finish-by") and given.get("max-delay"):
        reading.problem("finish-by", "give this or --max-delay, not both")
    reading.stop()
    if hours is None or power_w is None:
        raise ValueError("a size without hours or power passed for a good one")  # each of them added a problem
    duration = timedelta(hours=hours.value / gpus)
    latest = finish_by - duration if finish_by else at + delay if delay is not None else None
    if latest is not None and latest < at:
        soonest = iso_text(at + duration, "seconds")
        reading.problem("finish-by", f"it cannot end by then: on {gpus} GPU(s) it ends at {soonest} at the soonest")
    reading.stop()
    return Size(gpus=gpus, model=model, hours=hours, duration=duration, power_w=power_w, at=at, latest=latest, pue=pue)


class _Reading:
    """The options read so far, with their problems."""

    def __init__(self, given: Options) -> None:
        self.given = given
        self._problems: list[InputProblem] = []

    def problem(self, option: str, message: str) -> None:
        self._problems.append(InputProblem(field=f"--{option}" if option else "", message=message))

    def stop(self) -> None:
        if self._problems:
            what = self._problems[0].message if len(self._problems) == 1 else "these options are wrong"
            raise InvalidJob(f"nothing can be estimated: {what}", self._problems)

    def number(self, option: str, least: float, most: float, *, whole: bool = False, unit: str = "") -> float | None:
        raw = self.given.get(option)
        if raw is None:
            return None
        try:
            value = float(raw.strip().lower().removesuffix(unit))
        except ValueError:
            value = float("nan")
        if not (isfinite(value) and least <= value <= most) or (whole and not value.is_integer()):
            kind = "a whole number" if whole else "a number"
            self.problem(option, f"'{raw}' is not {kind} from {least:,g} to {most:,g}")
            return None
        return value

    def instant(self, option: str, now: datetime) -> datetime | None:
        return self._read(option, lambda raw: told_instant(raw, now))

    def span(self, option: str) -> timedelta | None:
        return self._read(option, parse_duration)

    def model(self, option: str) -> GpuModel | None:
        return self._read(option, find_model)

    def _read(self, option: str, read: Callable[[str], T]) -> T | None:
        raw = self.given.get(option)
        try:
            return None if raw is None else read(raw)
        except (ValueError, GreenrunError) as exc:
            self.problem(option, str(exc))
            return None


def _power(reading: _Reading, gpus: int) -> tuple[Figure | None, GpuModel | None]:
    """Return the job's power, and its GPUs' model where a figure of it is needed."""
    given, flops = reading.given, reading.given.get("flops") or reading.given.get("params")
    is_needed = given.get("power") is None or (flops and given.get("peak-flops") is None)
    model = reading.model("gpu-model") if is_needed else None
    if given.get("power") is not None:
        watts = _watts(reading)
        return (None if watts is None else Figure(value=watts, method="power of the whole job, as given")), model
    if given.get("gpu-model") is None:
        reading.problem("gpu-model", "name the GPUs, such as --gpu-model H100, or give the job's power with --power")
    return (nominal_power(model, gpus) if model else None), model


def _watts(reading: _Reading) -> float | None:
    if str(reading.given["power"]).strip().lower().endswith("kw"):
        kilowatts = reading.number("power", 0.001, 1e6, unit="kw")
        return None if kilowatts is None else kilowatts * 1000
    return reading.number("power", 1, 1e9, unit="w")


def _hours(reading: _Reading, gpus: int, model: GpuModel | None) -> Figure | None:
    given = {name for name in ("gpu-hours", "flops", "params") if reading.given.get(name) is not None}
    if len(given) != 1:
        reading.problem("", _WORK if not given else f"give one of {', '.join(f'--{name}' for name in sorted(given))}")
        return None
    for option in ("mfu", "peak-flops") if given == {"gpu-hours"} else ():
        if reading.given.get(option) is not None:
            reading.problem(option, "is for --flops and --params; --gpu-hours does not need it")
    if "params" not in given and reading.given.get("tokens") is not None:
        reading.problem("tokens", "goes with --params")
    if given != {"gpu-hours"}:
        return _within(reading, _hours_of_flops(reading, model), gpus)
    hours = reading.number("gpu-hours", 1e-6, 1e11)
    return _within(reading, Figure(value=hours, method="as given") if hours else None, gpus)


def _hours_of_flops(reading: _Reading, model: GpuModel | None) -> Figure | None:
    flops, what = _flops(reading)
    mfu, peak = _mfu(reading), reading.number("peak-flops", 1e9, 1e18)
    if reading.given.get("peak-flops") is None:
        if reading.given.get("gpu-model") is None and reading.given.get("power") is not None:
            reading.problem("gpu-model", "name the GPUs for their speed, or give one GPU's speed with --peak-flops")
        peak = model.peak_flops if model else None
    if flops is None or mfu is None or peak is None:
        return None
    source = "as given" if reading.given.get("peak-flops") else f"{model.source}, dense BF16/FP16" if model else ""
    method = f"{what} / ({peak / 1e12:g} TFLOP/s ({source}) x MFU {mfu:g})"
    return Figure(value=gpu_hours(flops, peak, mfu), method=method)


def _flops(reading: _Reading) -> tuple[float | None, str]:
    if reading.given.get("flops") is not None:
        flops = reading.number("flops", 1, 1e32)
        return flops, "" if flops is None else f"{flops:.3g} FLOP"
    parameters, tokens = reading.number("params", 1, 1e18), reading.number("tokens", 1, 1e18)
    if reading.given.get("tokens") is None:
        reading.problem("tokens", "say on how many tokens it is trained; the work is 6 x parameters x tokens")
    if parameters is None or tokens is None:
        return None, ""
    flops = training_flops(parameters, tokens)
    return flops, f"{flops:.3g} FLOP (6 x parameters x tokens, arXiv:2001.08361)"


def _mfu(reading: _Reading) -> float | None:
    raw = reading.given.get("mfu")
    if raw is None:
        reading.problem("mfu", "say what share of the peak it reaches, such as --mfu 0.4 (well-tuned: 0.35 to 0.5)")
        return None
    if raw.strip().endswith("%"):
        percent = reading.number("mfu", 0.1, 100, unit="%")
        return None if percent is None else percent / 100
    return reading.number("mfu", 0.001, 1)


def _within(reading: _Reading, hours: Figure | None, gpus: int) -> Figure | None:
    """Return the hours if the job lasts between a second and ten years."""
    if hours is None:
        return None
    seconds = hours.value / gpus * 3600
    if not 1 <= seconds <= LONGEST.total_seconds():
        last = "less than a second" if seconds < 1 else f"{number_text(seconds / 31_557_600)} years"
        reading.problem(
            "", f"{number_text(hours.value)} GPU-hours on {gpus} GPU(s) last {last}; is a figure or its unit wrong?"
        )
        return None
    return hours
