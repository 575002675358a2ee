"""`greenrun plan`: what starts when, as a drawing and a table, with notes.

The notes are the sums, the distance to the proved bound, pauses, put-offs, and what no forecast covers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import click

from greenrun.charts import terminal
from greenrun.cli import text
from greenrun.cli.command import Command
from greenrun.cli.grid.forecast import steps_of
from greenrun.cli.options import connect, daemon_options, print_json
from greenrun.cli.tables import Column, output_width, print_table, print_wrapped, terminal_width
from greenrun.clock import utc_now
from greenrun.core.formatting import (
    clock_text,
    compared_text,
    count_text,
    day_clock_text,
    day_span_text,
    mass_text,
    power_text,
    ranges_text,
    span_text,
    whole_text,
)
from greenrun.submission.local_zone import zones_text

Answer = Mapping[str, Any]
FIRST_COME = "first come, first served"  # in order of submission, as soon as GPUs are free
EARLIEST = "at the earliest start on the same GPUs, as reports compare,"
_MAX_BARS = 40
_WIDE = 120  # columns from which on there is room for whole reasons
_MAX_PAUSES = 10  # jobs whose pauses are shown
_MAX_HIDDEN = 10
_MAX_CAPS = 6
_ESTIMATED = "estimated"


@click.command("plan", cls=Command)
@daemon_options
@click.pass_context
def plan(ctx: click.Context, as_json: bool, socket: str | None, config: str | None) -> None:
    """Show what starts when, and why; what waits without a place; and both against the forecast.

    \b
    greenrun plan
    """
    client = connect(ctx, socket, config)
    answer = client.plan()
    if as_json:
        print_json(answer)
        return
    now = utc_now()
    hidden = list(_hidden(answer, now))
    power = list(_power(answer, now))
    if not answer["placements"] and not answer["waiting"]:
        print_wrapped([*(hidden or ["nothing waits to be started"]), *power])
        return
    if answer["placements"]:
        forecast = client.forecast()
        _print_drawing(answer, forecast, now)
        print_table(_columns(answer, now), [_placement(row, now, output_width()) for row in answer["placements"]])
        print_wrapped(_notes(answer, forecast, now), "  ")
    print_wrapped([*map(text.printable, _waiting(answer["waiting"], now)), *hidden, *power], "  ")


def _waiting(rows: Iterable[Mapping[str, Any]], now: datetime) -> Iterator[str]:
    """Yield why jobs have no place in the plan; those that wait for the same, as an array's do, are told together."""
    by_reason: dict[str, list[int]] = {}
    for row in rows:
        by_reason.setdefault(text.reason_text(row, now), []).append(int(row["job"]))
    for reason, ids in by_reason.items():
        who = f"job {ids[0]} waits" if len(ids) == 1 else f"jobs {ranges_text(ids)} wait"
        yield f"{who} without a place in the plan: {reason}"


def _hidden(answer: Answer, now: datetime) -> Iterator[str]:
    """Yield when jobs that the daemon does not name occupy GPUs; a daemon of an earlier release names all."""
    rows = answer.get("others") or ()
    for row in rows[:_MAX_HIDDEN]:
        span = span_text(text.instant(row["start"]), text.instant(row["end"]), now)
        yield f"a job of another user is planned on {count_text(row['gpus'], 'GPU')}, {span}"
    if len(rows) > _MAX_HIDDEN:
        yield f"{count_text(len(rows) - _MAX_HIDDEN, 'more job')} of other users are planned later"
    if waiting := answer.get("others_waiting", 0):
        yield f"{count_text(waiting, 'job')} of other users {'waits' if waiting == 1 else 'wait'} without a place"


def _columns(answer: Answer, now: datetime) -> list[Column]:
    edges = (text.instant(row[edge]) for row in answer["placements"] for edge in ("start", "end"))
    return [
        Column("job", right=True),
        Column(f"when ({zones_text(now, *edges)})"),
        Column("gpus", right=True, rank=4),
        Column("g/kWh", right=True, rank=3),
        Column("CO2e", right=True, rank=5),
        Column("why", wraps=True),
    ]


def _placement(row: Mapping[str, Any], now: datetime, width: int | None) -> list[str]:
    """Return the cells of a row: on a terminal with weekdays, and where that is narrow the reason in a few words."""
    start, end = text.instant(row["start"]), text.instant(row["end"])
    when = span_text(start, end, now) if width is None else day_span_text(start, end, now)
    is_wide = width is None or width >= _WIDE
    return [
        str(row["job"]),
        when + (" late" if row.get("late") else ""),
        str(row["gpus"]),
        whole_text(row["g_per_kwh"]) + (" marginal" if row.get("signal") == "marginal" else ""),
        mass_text(row.get("expected_g")),
        text.printable(text.reason_text(row, now) if is_wide else text.short_reason({**row, "planned": row}, now)),
    ]


def _print_drawing(answer: Mapping[str, Any], forecast: Mapping[str, Any], now: datetime) -> None:
    rows = answer["placements"][:_MAX_BARS]
    bars = [
        terminal.GanttBar(f"{row['job']:>6}", text.instant(row["start"]), text.instant(row["end"]), _pieces(row))
        for row in rows
    ]
    start, end = min(now, min(bar.start for bar in bars)), max(bar.end for bar in bars)
    width = max(20, min(terminal_width() - 10, 100))
    strip = terminal.strip(steps_of(forecast), start, end, width)
    short = end - start < timedelta(minutes=5)
    first, last = (clock_text(at, now, seconds=True) if short else day_clock_text(at, now) for at in (start, end))
    print(" " * 8 + first + last.rjust(width - len(first)))
    if strip.strip():
        print(f" g/kWh  {strip}")
    for line in terminal.gantt_lines(bars, start, end, width):
        print(line)
    print()


def _notes(plan: Answer, forecast: Answer, now: datetime) -> Iterator[str]:
    """Yield the lines under a plan's table; `forecast` is the source's own, as the API gives both."""
    yield _sums(plan)
    if near := _near(plan):
        yield near
    paused = [row for row in plan["placements"] if len(row.get("pieces") or ()) > 1]
    for row in paused[:_MAX_PAUSES]:
        spans = ", ".join(span_text(start, end, now) for start, end in _pieces(row))
        yield f"job {row['job']} runs {spans}, and is suspended in between"
    if len(paused) > _MAX_PAUSES:
        yield f"{len(paused) - _MAX_PAUSES} more jobs are suspended in between"
    if put_off := _put_off(plan):
        yield put_off
    if estimated := _estimated(plan, forecast):
        yield estimated


def _power(answer: Answer, now: datetime) -> Iterator[str]:
    """Yield what the site's power cap is, what is drawn under it, and what is planned under the caps to come."""
    site = answer.get("site_power")
    if not site:
        return
    cap = "none now" if site["cap_w"] is None else f"{power_text(site['cap_w'])} now"
    known = [
        f"{power_text(site[f'{how}_w'])} {how}" for how in ("expected", "measured") if site[f"{how}_w"] is not None
    ]
    above = ": more than the cap, so nothing with GPUs is started" if site["above_since"] else ""
    yield f"the site's power cap: {', '.join([cap, *known])}{above}"
    for row in site["planned"][:_MAX_CAPS]:
        span = span_text(text.instant(row["start"]), text.instant(row["end"]), now)
        most = "no cap" if row["cap_w"] is None else f"at most {power_text(row['cap_w'])}"
        over = row["cap_w"] is not None and row["planned_w"] > row["cap_w"]
        more = ", more than that: what runs and may not be suspended goes on" if over else ""
        yield f"{span} {most}, {power_text(row['planned_w'])} planned{more}"
    if len(site["planned"]) > _MAX_CAPS:
        yield f"{len(site['planned']) - _MAX_CAPS} more caps follow"


def _pieces(placement: Answer) -> list[tuple[datetime, datetime]]:
    """Return the intervals in which a placed job runs."""
    rows = placement.get("pieces") or [placement]
    return [(text.instant(row["start"]), text.instant(row["end"])) for row in rows]


def _sums(plan: Answer) -> str:
    expected, at_once = plan.get("expected_g"), plan.get("start_at_once_g")
    if expected is None:
        return f"expected CO2e is unknown: {_unknown(plan)}"
    below = f" ({compared_text(expected, at_once, 'that')})" if at_once and expected != at_once else ""
    marginal = " marginal" if any(row.get("signal") == "marginal" for row in plan["placements"]) else ""
    told = f"expected {mass_text(expected)} CO2e{marginal}; {FIRST_COME} {mass_text(at_once)} CO2e{below}"
    return f"{told}{_by_reports(expected, at_once, plan.get('earliest_start_g'))}"


def _by_reports(expected: float, at_once: float | None, earliest: float | None) -> str:
    """Return what the baseline of reports comes to, where it is not the same."""
    if earliest is None or mass_text(earliest) == mass_text(at_once):
        return ""
    below = f" ({compared_text(expected, earliest, 'that')})" if earliest and expected != earliest else ""
    return f"; {EARLIEST} {mass_text(earliest)} CO2e{below}"


def _unknown(plan: Answer) -> str:
    """Return which jobs make the sum unknown."""
    unforeseen = [row["job"] for row in plan["placements"] if row["g_per_kwh"] is None]
    if unforeseen:
        return f"no forecast covers all of {_jobs(unforeseen)}"
    powerless = [row["job"] for row in plan["placements"] if row.get("expected_g") is None]
    return f"the power of {_jobs(powerless)} is not known; set it with --power"


def _near(plan: Answer) -> str:
    """Return the proved bound on the distance to the best possible plan, rounded up."""
    gap, bound = plan.get("gap_ratio"), plan.get("bound_g")
    if plan.get("expected_g") is None:
        return ""
    if gap is None or bound is None:
        late = [row["job"] for row in plan["placements"] if row.get("late")]
        why = f"; no plan was found in which {_jobs(late)} keeps every limit" if late else ""
        return f"how near that is to the best possible is not known{why}"
    near = "the best possible" if gap < 1e-6 else f"within {ceil(gap * 1000) / 10:g} % of the best possible"
    return f"this is {near}: within these limits no plan is expected to emit less than {mass_text(bound)} CO2e"


def _put_off(plan: Answer) -> str:
    """Say which jobs were put off since they were first planned, those put off most often first."""
    counts = {row["job"]: row["put_offs"] for row in plan["placements"] if row.get("put_offs")}
    listed = [
        f"job {job} ({count_text(count, 'time')})" for job, count in sorted(counts.items(), key=lambda item: -item[1])
    ]
    return f"put off since they were first planned: {_listed(listed)}" if listed else ""


def _estimated(plan: Answer, forecast: Answer) -> str:
    """Return which jobs run beyond the source's forecast, where averages of past days are used instead."""
    foretold = _foretold(forecast)
    shares = {
        row["job"]: _uncovered(_pieces(row), foretold) for row in plan["placements"] if row["g_per_kwh"] is not None
    }
    listed = [f"job {job} ({ceil(100 * share)} % of its time)" for job, share in shares.items() if share > 0.01]
    if not listed:
        return ""
    if forecast.get("rung") == "static":
        return f"estimated by a yearly mean, for there is no forecast: {_listed(listed)}"
    return f"estimated from the same hours of past days, for the forecast does not reach so far: {_listed(listed)}"


def _listed(listed: Sequence[str]) -> str:
    more = f" and {len(listed) - _MAX_PAUSES} more" if len(listed) > _MAX_PAUSES else ""
    return ", ".join(listed[:_MAX_PAUSES]) + more


def _foretold(forecast: Answer) -> list[tuple[datetime, datetime]]:
    """Return the intervals without holes that the source's forecast covers."""
    stretches: list[tuple[datetime, datetime]] = []
    for slot in forecast.get("slots") or ():
        start, end = text.instant(slot["start"]), text.instant(slot["end"])
        if slot["g_per_kwh"] is None or slot.get("kind") == _ESTIMATED:
            continue
        if stretches and stretches[-1][1] == start:
            stretches[-1] = (stretches[-1][0], end)
        else:
            stretches.append((start, end))
    return stretches


def _uncovered(spans: Sequence[tuple[datetime, datetime]], foretold: Sequence[tuple[datetime, datetime]]) -> float:
    """Return the share of the spans that no slot covers; slots do not overlap."""
    total_s = sum((end - start).total_seconds() for start, end in spans)
    covered_s = sum(
        max(0.0, (min(end, until) - max(start, since)).total_seconds())
        for start, end in spans
        for since, until in foretold
    )
    return 1 - covered_s / total_s if total_s else 0.0


def _jobs(ids: Sequence[int]) -> str:
    return f"job{'s' if len(ids) > 1 else ''} {ranges_text(ids)}"
