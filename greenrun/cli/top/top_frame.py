"""The screen of `top` as lines: the intensity, the plan of the coming hours, the GPUs, and the jobs."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from greenrun.charts import terminal
from greenrun.cli import text
from greenrun.cli.jobs.listing import why_text
from greenrun.cli.tables import Column, table_lines
from greenrun.cli.terminal.width import shortened, wrapped
from greenrun.cli.top.observation import Answer, Observation
from greenrun.core.formatting import (
    count_text,
    day_clock_text,
    day_span_text,
    intensity_text,
    mass_text,
    power_text,
    whole_text,
)
from greenrun.submission.local_zone import here_and_now, local_zone, zones_text

_LABEL = 8  # columns before the drawing: a job's number and two blanks, as in `greenrun plan`
_LEAST_DRAWN, _MOST_DRAWN = 20, 160
_AHEAD = timedelta(hours=24)
_HOUR = timedelta(hours=1)
_ROOMY = 32  # lines from which on parts have a blank line between them
_MOST_ROWS = 1000


def head_text(seen: Observation | None, now: datetime) -> str:
    """Return the first line: which zone, the time, and how many jobs there are."""
    if seen is None:
        return f"greenrun top   {here_and_now(now)}   q leaves"
    counts = f"{len(seen.running)} running, {seen.waiting} waiting"
    return f"greenrun top   {seen.forecast['zone'] or 'no zone'}   {here_and_now(seen.at)}   {counts}   q leaves"


def frame_lines(seen: Observation, width: int, height: int | None, *, styled: bool) -> list[str]:
    """Return the lines below the head, at most `height` of them (None: all that there is to show).

    Where there is little room the drawing gets a quarter of it, the running jobs go before the queue.
    """
    roomy = height is None or height >= _ROOMY
    bars = 8 if height is None else max(1, height // 4 - (0 if height > 20 else 2))
    top = [*_status(seen, width), *_drawing(seen, width, bars)]
    gpus = _gpus(seen, width)
    top += ["", *gpus] if height is None else [""][: int(roomy)] + _cut(gpus, max(2, height // 5), width)
    running, queue = _running(seen, width, styled=styled), _queue(seen, width, styled=styled)
    blank = [""] if roomy else []
    if height is None:
        return [*top, *blank, *running, *blank, *queue]
    room = height - len(top) - 2 * len(blank)
    least_queue = min(len(queue), 3)
    running = _cut(running, max(2, room - least_queue), width)
    return [*top, *blank, *running, *blank, *_cut(queue, max(2, room - len(running)), width)][:height]


def _cut(lines: list[str], room: int, width: int) -> list[str]:
    if len(lines) <= room:
        return lines
    return [*lines[: room - 1], shortened(f"and {len(lines) - room + 1} more", width)]


_ROUGH = {"stale": "stale", "climatology": "estimated from past days", "static": "a yearly mean"}


def _status(seen: Observation, width: int) -> Iterator[str]:
    """Yield the intensity now, in an hour, and when it is the least; and what is wrong with the daemon or the plan."""
    for trouble in seen.troubles:
        yield from wrapped(f"daemon: {text.printable(trouble)}", width, "  ")
    drained = [row for row in seen.drains if row["gpu"] is None]
    if drained:
        yield shortened("the machine is drained: no job is started (greenrun resume lets them go)", width)
    steps = seen.steps
    now_g = terminal.value_at(steps, seen.at)
    if not steps or now_g is None:
        why = text.printable(str(seen.forecast.get("why") or "none is known"))
        yield from wrapped(f"no forecast: {why}", width, "  ")
        return
    signal = seen.forecast.get("signal")
    parts = [f"{intensity_text(now_g, signal)} now"]
    next_g = terminal.value_at(steps, seen.at + _HOUR)
    parts += [f"{intensity_text(next_g, signal)} in an hour"] if next_g is not None else []
    window = terminal.cleanest(steps)
    if window is not None:
        span = day_span_text(window.start, window.end, seen.at)
        parts.append(f"cleanest 4 h {span} ({intensity_text(window.g_per_kwh, signal)})")
    rough = _ROUGH.get(seen.forecast.get("rung") or "")
    parts += [f"the forecast is {rough}"] if rough else []
    yield from wrapped(", ".join(parts), width, "  ")


def _drawing(seen: Observation, width: int, rows: int) -> list[str]:
    """Return the axis of the coming hours, their intensity, and what runs and is planned in them, a row per job."""
    columns = max(_LEAST_DRAWN, min(_MOST_DRAWN, width - _LABEL))
    start, end = seen.at, seen.at + _AHEAD
    strip = terminal.strip(seen.steps, start, end, columns)
    lines = [" " * _LABEL + terminal.time_axis(start, end, columns, local_zone())]
    lines += [f" g/kWh  {strip}"] if strip.strip() else []
    bars = [bar for bar in _bars(seen) if bar.start < end]
    return [*lines, *terminal.gantt_lines(bars[:rows], start, end, columns)]


def _bars(seen: Observation) -> Iterator[terminal.GanttBar]:
    for job in seen.running:
        began = text.started_at(job) or seen.at
        ends = max(text.expected_end(job, began), seen.at + timedelta(minutes=1))
        yield terminal.GanttBar(f"{job['id']:>6}", seen.at, ends)
    for job in seen.queued:
        if planned := job.get("planned"):
            pieces = [(text.instant(row["start"]), text.instant(row["end"])) for row in planned.get("pieces") or ()]
            yield terminal.GanttBar(
                f"{job['id']:>6}", text.instant(planned["start"]), text.instant(planned["end"]), pieces
            )


def _gpus(seen: Observation, width: int) -> list[str]:
    """Return what each GPU draws and who has it, as many on a line as there is room for."""
    gpus = [device for device in seen.devices if device["kind"] == "gpu" and not device.get("part_of")]
    if not gpus:
        return ["no GPUs"]
    emulated = " (emulated)" if all(device["emulated"] for device in gpus) else ""
    cells = [_gpu(device, {row["gpu"] for row in seen.drains}) for device in gpus]
    each = max(map(len, cells)) + 3
    per_line = max(1, (width + 3) // each)
    rows = (cells[at : at + per_line] for at in range(0, len(cells), per_line))
    lines = [f"{count_text(len(gpus), 'GPU')}{emulated}"]
    lines += ["   ".join(cell.ljust(each - 3) for cell in row).rstrip() for row in rows]
    return [shortened(line, width) for line in lines]


def _gpu(device: Answer, drained: set[str]) -> str:
    power = "" if device.get("power_w") is None else f"{power_text(device['power_w']):>6}  "
    if device["leased_by_job"]:
        holder = f"job {device['leased_by_job']}"
    elif device.get("leased"):
        holder = "in use"
    elif device["id"] in drained:
        holder = "drained"
    elif kept := [row["code"] for row in device.get("unavailable", ()) if row["code"] in ("excluded", "reserved")]:
        holder = kept[0]
    else:
        away = "used by others" if device.get("processes") else "not available"
        is_free = not device["unavailable"] if device.get("is_divided") else device.get("available", True)
        holder = "free" if is_free else away
    return f"{device['index']:>2}  {power}{holder}"


def _running(seen: Observation, width: int, *, styled: bool) -> list[str]:
    if not seen.running:
        return ["nothing runs"]
    began = [at for job in seen.running if (at := text.started_at(job))]
    columns = [
        Column("id", right=True), Column("name", rank=1, least=16, squeezed=6), Column("gpus", right=True, rank=4),
        Column("power", right=True, rank=3), Column("CO2e", right=True, rank=2),
        Column(f"since ({zones_text(seen.at, *began)})", rank=5), Column("progress", least=17, squeezed=8),
    ]  # fmt: skip
    rows = [_running_row(seen, job) for job in seen.running[:_MOST_ROWS]]
    return table_lines(columns, rows, width=width, styled=styled)


def _running_row(seen: Observation, job: Answer) -> list[str]:
    started, power_w = text.started_at(job), seen.power_w(job)
    grams = text.summed(text.emitted_g(run) for run in job["runs"])
    return [
        str(job["id"]),
        text.printable(job["name"]),
        str(job["gpus"]),
        "" if power_w is None else power_text(power_w),
        mass_text(grams) if text.is_told(job) else "",
        day_clock_text(started, seen.at) if started else "",
        why_text(job, seen.at) or text.state_text(job),
    ]


def _queue(seen: Observation, width: int, *, styled: bool) -> list[str]:
    if not seen.queued:
        return ["nothing waits"]
    planned = [text.instant(job["planned"]["start"]) for job in seen.queued if job.get("planned")]
    columns = [
        Column("id", right=True), Column("name", rank=1, least=16, squeezed=6), Column("gpus", right=True, rank=4),
        Column(f"planned ({zones_text(seen.at, *planned)})"), Column("g/kWh", right=True, rank=3),
        Column("why", rank=2, least=17, squeezed=11),
    ]  # fmt: skip
    return table_lines(columns, [_queue_row(seen, job) for job in seen.queued[:_MOST_ROWS]], width=width, styled=styled)


def _queue_row(seen: Observation, job: Answer) -> list[str]:
    planned = job.get("planned")
    start, end = (text.instant(planned[edge]) for edge in ("start", "end")) if planned else (None, None)
    grams = planned and planned.get("g_per_kwh")
    return [
        str(job["id"]),
        text.printable(job["name"]),
        str(job["gpus"]),
        day_span_text(start, end, seen.at) if start and end else text.state_text(job),
        "" if grams is None else whole_text(grams),
        why_text(job, seen.at),
    ]


def page_lines(seen: Observation, width: int) -> Sequence[str]:
    """Return all of it once, for what is no terminal."""
    head = head_text(seen, seen.at).removesuffix("   q leaves")
    return [*wrapped(head, width, "  "), *frame_lines(seen, width, None, styled=False)]
