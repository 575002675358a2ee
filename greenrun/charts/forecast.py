"""A forecast as an HTML page: its steps over time, estimated ones lighter, with the cleanest hours marked."""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone, tzinfo

from greenrun.charts import browser
from greenrun.charts.steps import StepCurve
from greenrun.charts.terminal import CleanWindow, Step

_ESTIMATED = "estimated, for nobody forecasts it"


def page(
    steps: Sequence[Step], estimated: Sequence[bool], *, title: str, lines: Sequence[str], window: CleanWindow | None,
    marked: str, zone: tzinfo,
) -> str:  # fmt: skip
    """Return one HTML page of steps in time order; `estimated` says of each whether nobody forecast it.

    `lines` say whose forecast it is, `marked` what the window is. Times are those of `zone`.
    """
    kinds = ["estimated" if guessed else "forecast" for guessed in estimated]
    rows = [
        (f"{step.start.astimezone(zone):%a %Y-%m-%d %H:%M %Z}", f"{step.g_per_kwh:.0f}", kind)
        for step, kind in zip(steps, kinds, strict=True)
    ]
    table = browser.Table(caption="Each step", heads=("from", "g CO2e/kWh", "kind"), rows=rows, is_folded=True)
    drawn = [chart(steps, estimated, title=title, window=window, marked=marked, zone=zone)] if steps else []
    return browser.page(
        title=title, heading=title, lines=lines, charts=drawn, tables=[table] if rows else [],
        notes=[marked] if window else [],
    )  # fmt: skip


def chart(
    steps: Sequence[Step],
    estimated: Sequence[bool],
    *,
    title: str,
    window: CleanWindow | None,
    marked: str,
    zone: tzinfo,
) -> browser.Chart:
    """Return the steps as a chart; at least one is needed. Where nothing is known it is blank."""
    layers = [
        browser.Layer(steps=_only(steps, estimated, False), colour=browser.BLUE, name="forecast", opacity=0.6),
        browser.Layer(steps=_only(steps, estimated, True), colour=browser.GREY, name=_ESTIMATED, opacity=0.25),
    ]
    panel = browser.Panel(
        heading="Carbon intensity", what="", unit="g CO2e/kWh", top=max(step.g_per_kwh for step in steps), height=300,
        layers=layers if any(estimated) else layers[:1],
    )  # fmt: skip
    lowest, highest = (f"{of(step.g_per_kwh for step in steps):.0f}" for of in (min, max))
    return browser.step_panels(
        [panel], id="forecast",
        description=f"{title}: {lowest} to {highest} g CO2e/kWh. {marked if window else ''}".rstrip(),
        shaded=[(window.start.timestamp(), window.end.timestamp())] if window else [], shade=marked,
        zone=_fixed(zone, steps[0].start),
    )  # fmt: skip


def _only(steps: Sequence[Step], estimated: Sequence[bool], wanted: bool) -> StepCurve:
    """Return the steps of one kind, the others being holes."""
    return StepCurve.of_slots(
        (step.start.timestamp(), step.end.timestamp(), step.g_per_kwh if guessed is wanted else None)
        for step, guessed in zip(steps, estimated, strict=True)
    )


def _fixed(zone: tzinfo, at: datetime) -> tzinfo:
    """Return the offset of a zone at an instant: on an axis, no hour may come twice when clocks change."""
    return timezone(at.astimezone(zone).utcoffset() or timedelta(0))
