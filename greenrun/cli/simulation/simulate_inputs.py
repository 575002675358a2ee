"""Turn the options of `greenrun simulate` into a case and the policies to compare, or report all their problems."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from greenrun.cli.output import page_problems
from greenrun.cli.simulation.simulate_site import SiteLimits, read_site
from greenrun.clock import utc_now
from greenrun.config import load_config
from greenrun.config.site_power_cap import parse_watts
from greenrun.core.accounting.weekly import Weekly
from greenrun.core.errors import InputProblem
from greenrun.core.parsing import parse_instant
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.core.planning.precedence.fair_share import LEAST_SHARES, MOST_SHARES, AccountOf, Shares
from greenrun.simulation.case import Case, JobOverrides, refusal
from greenrun.simulation.files import read_case
from greenrun.simulation.history import CaseQuery, history_case
from greenrun.simulation.policies import GREENRUN, Policy, policies_of
from greenrun.submission.times import parse_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """The options as they were typed; `files` by what they are, None where one was not given."""

    gpus: str
    start: str | None
    horizon: str
    restart_cost: str
    max_delay: str | None
    history: str | None
    policies: Sequence[str]
    shares: Sequence[str]
    power_cap: str | None
    site: bool
    interruptible: bool
    schedule_out: str | None
    plot: str | None
    files: Mapping[str, str | None]
    config: Path | None


def read(options: SimulateOptions) -> tuple[Case, Sequence[Policy], Mapping[str, int]]:
    """Return the case, the policies, and how many jobs were left out by reason.

    Raise InvalidInput with the problems of all options and files.
    """
    problems: list[InputProblem] = []
    policies = policies_of(options.policies, problems)
    problems += _schedule_problems(options.schedule_out, [policy.name for policy in policies])
    problems += _plot_problems(options)
    site = read_site(options.config, problems) if options.site else SiteLimits()
    overrides = JobOverrides(
        max_delay=None if options.max_delay is None else _duration("--max-delay", options.max_delay, problems),
        interruptible=options.interruptible,
        power_limit=site.power_limit,
    )
    problems += _missing(options)
    if options.history is not None:
        case, left_out = _from_history(options, overrides, site, problems)
        return case, policies, left_out
    return _from_files(options, overrides, site, problems), policies, {}


def _from_files(
    options: SimulateOptions, overrides: JobOverrides, site: SiteLimits, problems: list[InputProblem]
) -> Case:
    files = {name: Path(path) for name, path in options.files.items() if path is not None}
    start = None if options.start is None else _instant("--start", options.start, problems)
    gpus = _gpus(options.gpus, site, problems)
    horizon = _duration("--horizon", options.horizon, problems)
    cost = _duration("--restart-cost", options.restart_cost, problems)
    if not {"intensity", "jobs"} <= files.keys():
        raise refusal(problems)
    return read_case(
        **files, start=start, gpus=gpus, horizon=horizon, restart_cost=cost, overrides=overrides,
        shares=_shares(options.shares, problems, site.shares), site_power=_power_cap(options, problems, site.power),
        site=site.rules, found=problems,
    )  # fmt: skip


def _from_history(
    options: SimulateOptions, overrides: JobOverrides, site: SiteLimits, problems: list[InputProblem]
) -> tuple[Case, Mapping[str, int]]:
    config = load_config(options.config)
    if config.grid.zone is None:
        problems.append(
            InputProblem(field="--history", message="the settings name no [grid] zone, so no grid is known")
        )
    database = config.paths.state / "greenrun.db"
    if not database.is_file():
        problems.append(
            InputProblem(field="--history", message=f"there is no database {database}; has a daemon run here?")
        )
    query = CaseQuery(
        zone=config.grid.zone or "",
        span=_duration("--history", options.history or "", problems),
        gpus=_gpus(options.gpus, site, problems),
        horizon=_duration("--horizon", options.horizon, problems),
        default_max_delay=config.planner.default_max_delay,
        restart_cost=_duration("--restart-cost", options.restart_cost, problems),
        overrides=overrides,
        shares=_shares(options.shares, problems, site.shares),
        site_power=_power_cap(options, problems, site.power),
        site=site.rules,
    )
    if problems:
        raise refusal(problems)
    from greenrun.store import Store

    with closing(Store(database)) as store:
        return history_case(store, query, utc_now())


def _power_cap(options: SimulateOptions, problems: list[InputProblem], of_site: SitePower | None) -> SitePower | None:
    """Return the cap on power that was asked for: a power, or that of the settings with its hours."""
    text = options.power_cap
    if text is None:
        return of_site
    if text.strip().lower() == "settings":
        site = load_config(options.config).site_power.in_effect
        if site is None:
            why = "the settings have no cap; set [site_power] cap or hours, or give a power"
            problems.append(InputProblem(field="--power-cap", message=why))
        return site
    try:
        return SitePower(cap=Weekly.of([], parse_watts(text)))
    except ValueError as exc:
        problems.append(InputProblem(field="--power-cap", message=f"{exc}, or settings"))
        return None


def _missing(options: SimulateOptions) -> list[InputProblem]:
    """Return problems of options that are missing or must not be combined."""
    own = {"--intensity": options.files["intensity"], "--jobs": options.files["jobs"], "--start": options.start}
    if options.history is None:
        why = "it is needed unless --history is given"
        return [InputProblem(field=name, message=why) for name, given in own.items() if given is None]
    others = {"--forecast": options.files["forecast"], "--history-jobs": options.files["earlier"]}
    why = "it does not go with --history, which takes jobs and grid from this host's database"
    return [InputProblem(field=name, message=why) for name, given in (own | others).items() if given is not None]


def _schedule_problems(path: str | None, policies: Sequence[str]) -> list[InputProblem]:
    if path is None:
        return []
    problems = []
    if GREENRUN not in policies:
        problems.append("it is for greenrun's schedule, which --policy leaves out; add --policy greenrun")
    if not Path(path).absolute().parent.is_dir():
        problems.append(f"{Path(path).absolute().parent} is not a folder")
    return [InputProblem(field="--schedule-out", message=message) for message in problems]


def _plot_problems(options: SimulateOptions) -> list[InputProblem]:
    if options.plot is None:
        return []
    problems = [InputProblem(field="--plot", message=message) for message in page_problems(options.plot)]
    if options.schedule_out is not None and Path(options.plot).absolute() == Path(options.schedule_out).absolute():
        problems.append(InputProblem(field="--plot", message="--schedule-out names the same file"))
    return problems


def _duration(name: str, text: str, problems: list[InputProblem]) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as exc:
        problems.append(InputProblem(field=name, message=str(exc)))
        return timedelta(hours=1)


def _shares(given: Sequence[str], problems: list[InputProblem], of_site: Shares) -> Shares:
    weights = {}
    for text in given:
        user, _, number = text.rpartition("=")
        try:
            weights[user] = float(number)
        except ValueError:
            weights[user] = 0.0
        if not user or not MOST_SHARES >= weights[user] >= LEAST_SHARES:
            told = f"{text[:40]!r} is not USER=N with a number from {LEAST_SHARES:g} to {MOST_SHARES:g}"
            problems.append(InputProblem(field="--share", message=told))
    return Shares(by=AccountOf.USER, weights=weights) if weights else of_site


def _instant(name: str, text: str, problems: list[InputProblem]) -> datetime | None:
    try:
        return parse_instant(text)
    except ValueError as exc:
        problems.append(InputProblem(field=name, message=str(exc)))
        return None


def _gpus(text: str, site: SiteLimits, problems: list[InputProblem]) -> int | None:
    """Return how many GPUs jobs are given; None for as many as they need."""
    if text.strip().lower() == "inf":
        return None
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text) - sum(number < int(text) for number in site.rules.excluded)
    problems.append(InputProblem(field="--gpus", message=f"'{text[:40]}' is neither a whole number above 0 nor inf"))
    return None
