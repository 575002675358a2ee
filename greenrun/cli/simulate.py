"""`greenrun simulate`: replay recorded jobs on a recorded grid under greenrun and other schedulers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from greenrun.cli.command import Command
from greenrun.cli.option_headings import OF_SIMULATIONS
from greenrun.cli.options import config_option, config_path, json_option, print_json
from greenrun.core.formatting import duration_text, mass_text, percent_text, power_text

if TYPE_CHECKING:
    from greenrun.simulation.case import Case
    from greenrun.simulation.compare import Comparison
    from greenrun.simulation.policies import Policy

ProgressCallback = Callable[[str, int], None]
_COLUMNS = ("policy", "CO2e", "saving", "late", "mean delay", "suspensions", "peak GPUs", "peak power")
_USER_FIGURES = ("jobs", "GPU-hours", "late", "mean delay")


@click.command("simulate", cls=Command, headings=OF_SIMULATIONS)
@click.option("--gpus", required=True, metavar="N", help="How many GPUs there are, or inf.")
@click.option("--intensity", metavar="FILE", help="The grid as it was: start,g_per_kwh, times in UTC.")
@click.option(
    "--jobs",
    metavar="FILE",
    help="submitted_s,duration_s,gpus,power_w,max_delay_s,interruptible[,user][,project][,power_limit]; seconds after "
    "--start.",
)
@click.option("--start", metavar="T", help="Where second 0 of the jobs lies, like 2022-10-19T16:00Z.")
@click.option("--history", metavar="D", help="In place of files: this host's own jobs of the last D.")
@click.option(
    "--forecast",
    metavar="FILE",
    help="What was foretold: start,g_per_kwh (seen 24 h ahead) or issued_at,start,g_per_kwh; else the grid as it was.",
)
@click.option(
    "--horizon", default="48h", show_default=True, metavar="D", help="How far ahead a forecast is seen at most."
)
@click.option(
    "--policy",
    multiple=True,
    metavar="P",
    help="greenrun, start-at-once, own-best-window, lowest-slot, carbon-time, threshold:N (g/kWh) "
    "or percentile:P; repeatable.",
)
@click.option("--interruptible", is_flag=True, help="Let every job be suspended and resumed.")
@click.option(
    "--restart-cost",
    default="0s",
    show_default=True,
    metavar="D",
    help="How much longer a job takes each time it resumes.",
)
@click.option("--max-delay", metavar="D", help="Every job's max delay, in place of its own.")
@click.option(
    "--share",
    multiple=True,
    metavar="USER=N",
    help="Share the GPUs among users, this one with so many shares (else 1); repeatable.",
)
@click.option(
    "--power-cap",
    metavar="P",
    help="All jobs together draw no more than this, like 3 kW, or settings: as [site_power] has it by the clock.",
)
@click.option(
    "--site",
    is_flag=True,
    help="Under what the settings set: budgets, shares, power cap, reserved and excluded GPUs, GPU power limits.",
)
@click.option("--history-jobs", metavar="FILE", help="Earlier jobs, to learn from what usually arrives.")
@click.option("--schedule-out", metavar="FILE", help="Write greenrun's schedule: job,start_s,end_s.")
@click.option("--plot", metavar="FILE", help="Draw the comparison: an .html page.")
@json_option
@config_option
@click.pass_context
def simulate(
    ctx: click.Context,
    gpus: str,
    intensity: str | None,
    jobs: str | None,
    start: str | None,
    history: str | None,
    forecast: str | None,
    horizon: str,
    policy: tuple[str, ...],
    interruptible: bool,
    restart_cost: str,
    max_delay: str | None,
    share: tuple[str, ...],
    power_cap: str | None,
    site: bool,
    history_jobs: str | None,
    schedule_out: str | None,
    plot: str | None,
    as_json: bool,
    config: str | None,
) -> None:
    """Replay recorded jobs on a recorded grid, and compare what each policy would have emitted.

    greenrun's figures come from its own engine in virtual time; it knows a job once it is submitted, and of the
    grid only the forecast. Without --policy: greenrun, start-at-once and own-best-window.

    \b
    greenrun simulate --intensity GB.csv --jobs jobs.csv --gpus 8 \\
        --start 2026-01-05T00:00Z
    greenrun simulate --history 30d --gpus 8 --max-delay 12h --plot month.html
    """
    from time import perf_counter

    from greenrun.cli.simulation.simulate_inputs import SimulateOptions, read
    from greenrun.simulation.compare import compare

    began_s = perf_counter()
    options = SimulateOptions(
        gpus=gpus, start=start, horizon=horizon, restart_cost=restart_cost, max_delay=max_delay, history=history,
        policies=tuple(policy or ()), shares=tuple(share or ()), power_cap=power_cap, site=site,
        interruptible=interruptible, schedule_out=schedule_out, plot=plot,
        files={"intensity": intensity, "jobs": jobs, "forecast": forecast, "earlier": history_jobs},
        config=config_path(ctx, config),
    )  # fmt: skip
    case, policies, left_out = read(options)
    with _progress(len(case.jobs)) as progress:
        found = compare(case, policies, told=progress)
    if schedule_out is not None:
        _write_schedule(Path(schedule_out), case, found)
    if plot is not None:
        _write_plot(Path(plot), case, found, policies)
    if as_json:
        print_json(_document(case, found, left_out, perf_counter() - began_s))
    else:
        _print(case, found, policies, left_out)


@contextmanager
def _progress(total: int) -> Iterator[ProgressCallback | None]:
    """Show progress by policy on stderr if it is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bar:
        rows: dict[str, Any] = {}

        def show(name: str, done: int) -> None:
            if name not in rows:
                rows[name] = bar.add_task(name, total=total if done or name == "greenrun" else None)
            bar.update(rows[name], completed=done)

        yield show


def _write_schedule(path: Path, case: "Case", found: "Comparison") -> None:
    """Write greenrun's schedule whole, or leave what was there."""
    from greenrun.cli.output import write_whole
    from greenrun.simulation.policies import GREENRUN
    from greenrun.simulation.schedule import schedule_text

    write_whole(path, schedule_text(found.schedules[GREENRUN], case.start))


def _write_plot(path: Path, case: "Case", found: "Comparison", policies: "Sequence[Policy]") -> None:
    """Write the page whole, or leave what was there."""
    from greenrun.cli.output import write_whole
    from greenrun.simulation.page import PageContent, PolicyRow, page

    rows = [
        PolicyRow(
            name=policy.name, what=policy.what, cells=dict(zip(_COLUMNS[1:], _row(policy, found)[1:], strict=True))
        )
        for policy in policies
    ]
    shown = PageContent(case=case, found=found, rows=rows, bound=_bound(found), by_reports=_by_reports(found))
    write_whole(path, page(shown))


def _document(case: "Case", found: "Comparison", left_out: Mapping[str, int], wall_s: float) -> dict[str, Any]:
    from greenrun.simulation.compare import document

    return document(case, found) | {"left_out": dict(left_out), "wall_s": round(wall_s, 3)}


def _print(case: "Case", found: "Comparison", policies: "Sequence[Policy]", left_out: Mapping[str, int]) -> None:
    from greenrun.cli.tables import print_table

    rows = [_row(policy, found) for policy in policies]
    print_table(_COLUMNS, rows, right=_COLUMNS[1:])
    _print_users(case, found)
    width = max(len(policy.name) for policy in policies)
    for policy in policies:
        print(f"{policy.name:<{width}}  {policy.what}")
    at_once = mass_text(found.at_once.emissions_g)
    gpus = "as many GPUs as are needed" if case.gpus is None else f"{case.gpus} GPUs"
    print(f"{len(case.jobs)} jobs on {gpus}; saving against first come, first served: {at_once} CO2e")
    if by_reports := _by_reports(found):
        print(by_reports)
    _print_undone(case, found)
    print(_bound(found))
    if left_out:
        print(f"left out: {', '.join(f'{count} jobs ({reason})' for reason, count in left_out.items())}")


def _print_undone(case: "Case", found: "Comparison") -> None:
    """Print what greenrun did not run to its end, why, and what that means for its figures."""
    from greenrun.simulation.undone import undone_text

    for text in undone_text(case, found):
        print(text)


def _print_users(case: "Case", found: "Comparison") -> None:
    """Print what the first policy comes to for each user."""
    from greenrun.cli.tables import print_table
    from greenrun.simulation.compare import by_user

    name = next(iter(found.schedules))
    if users := by_user(found.schedules[name], case.jobs):
        rows = [
            [user, str(own.jobs), f"{own.gpu_hours:.1f}", str(own.late), duration_text(own.mean_delay_s)]
            for user, own in users.items()
        ]
        print_table((f"user under {name}", "jobs", "GPU-hours", "late", "mean delay"), rows, right=_USER_FIGURES)


def _by_reports(found: "Comparison") -> str:
    """Return the savings against the baseline of reports where that is not the same as first come, first served."""
    listed = [
        f"{name} {percent_text(found.earliest_start_saving_ratio(name), 1)} of {mass_text(own.earliest_start_g)}"
        for name, own in found.figures.items()
        if mass_text(own.earliest_start_g) != mass_text(found.at_once.emissions_g)
    ]
    return f"against the earliest start on the same GPUs, as reports compare: {', '.join(listed)}" if listed else ""


def _bound(found: "Comparison") -> str:
    """Return what no schedule can pass, or why that is not told."""
    bound_g = found.bound.grams
    if bound_g is None:
        return f"there is no bound to compare with: {found.bound.why_none}"
    if found.at_once.emissions_g is not None and bound_g > found.at_once.emissions_g:
        return f"a schedule that keeps every limit, if there is any, emits at least {mass_text(bound_g)} CO2e"
    saving = percent_text(found.bound_saving_ratio(), 1)
    return f"no schedule that keeps every limit emits less than {mass_text(bound_g)} CO2e (saving {saving})"


def _row(policy: "Policy", found: "Comparison") -> list[str]:
    own = found.figures[policy.name]
    return [
        policy.name,
        mass_text(own.emissions_g),
        percent_text(found.saving_ratio(policy.name), 1),
        str(own.late),
        duration_text(own.mean_delay_s),
        str(own.checkpoints),
        str(own.peak_gpus),
        power_text(own.peak_w),
    ]
