"""`greenrun providers`: list the configured sources and their requests' outcomes, and query each of them now."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from greenrun.cli import text
from greenrun.cli.command import FAILED, Command, Group, LocalError
from greenrun.cli.options import config_option, config_path, connect, daemon_options, json_option, print_json
from greenrun.cli.tables import Column, print_table
from greenrun.cli.terminal.log_lines import log_to_stderr
from greenrun.clock import utc_now
from greenrun.core.formatting import clock_text, count_text, duration_text, iso_text
from greenrun.submission.local_zone import zone_name

if TYPE_CHECKING:
    from greenrun.grid.sources import Checked, Coverage

OWN = "greenrun"
NONE = "no provider is set up: add a [provider.NAME] to the settings and name it in [grid] provider"


@click.group("providers", cls=Group, no_args_is_help=True)
def app() -> None:
    """Show and check the sources of carbon intensity."""


@app.command("list", cls=Command, short_help="List the configured sources and what is known by them.")
@daemon_options
@click.pass_context
def list_providers(ctx: click.Context, as_json: bool, socket: str | None, config: str | None) -> None:
    """List the configured sources: what each is for, whether its key can be read, and what became of asking it.

    Without a daemon only the settings are shown.

    \b
    greenrun providers list
    """
    from greenrun.client import NotReachable

    try:
        rows, is_live = connect(ctx, socket, config).providers(), True
    except NotReachable:
        rows, is_live = _from_settings(ctx, config), False
    if as_json:
        print_json(rows)
        return
    if not rows:
        print(NONE)
        return
    now = utc_now()
    print_table(_columns(zone_name(now)), [_row(row, now) for row in rows])
    for row in rows:
        for line in (row["label"], row["attribution"], row["problem"], row["key_problem"]):
            if line:
                print(f"{row['name']}: {text.printable(line)}")
    if not is_live:
        print("the daemon does not answer, so this is from the settings alone")


@app.command("check", cls=Command, short_help="Ask each configured source now.")
@click.option("--zone", metavar="ZONE", help="The zone; else the configured one.")
@json_option
@config_option
@click.pass_context
def check(ctx: click.Context, zone: str | None, as_json: bool, config: str | None) -> None:
    """Ask each configured source now: how far it reaches, its holes, its age, and how often it may still be asked.

    It asks by itself, from the settings, so it works before the daemon is started; what it asks counts against the
    sources' limits as the daemon's own questions do. The exit code is 1 when no source answers.

    \b
    greenrun providers check
    greenrun providers check --zone DK-DK1
    """
    from greenrun.config import load_config
    from greenrun.doctor.source_checks import check_configured

    log_to_stderr()
    settings = load_config(config_path(ctx, config))
    if not settings.provider:
        raise LocalError(NONE)
    now = utc_now()
    found = []
    for name in settings.provider:
        found.append(check_configured(settings, name, zone, now))
        if not as_json:
            for line in checked_lines(found[-1], now):
                print(text.printable(line), flush=True)
    if as_json:
        print_json([checked_json(checked) for checked in found])
    raise click.exceptions.Exit(0 if any(checked.answers for checked in found) else FAILED)


@app.command("kinds", cls=Command, short_help="List the kinds of source there are, and what declares each.")
@json_option
def list_kinds(as_json: bool) -> None:
    """List the kinds of source that the settings can name: greenrun's own, and those of installed packages.

    What a package declares and greenrun cannot use is listed with the reason. It asks nobody.

    \b
    greenrun providers kinds
    """
    from greenrun.providers import find_kind, kind_names, name_clashes

    rows = [(name, find_kind(name)) for name in kind_names()]
    if as_json:
        print_json(
            [
                {"kind": name, "package": kind.package, "zones": sorted(kind.zones), "needs_key": kind.needs_key,
                 "problem": kind.problem}
                for name, kind in rows
            ]
        )  # fmt: skip
        return
    cells = [
        (name, kind.package, _zones(sorted(kind.zones)), "needed" if kind.needs_key else "-") for name, kind in rows
    ]
    print_table(("kind", "from", "zones", "key"), cells)
    for problem in [kind.problem for _, kind in rows if kind.problem] + name_clashes():
        print(text.printable(problem))


def _columns(zone: str) -> list[Column]:
    return [
        Column("name"), Column("kind", rank=3), Column("role", rank=4), Column("zones", rank=7), Column("key", rank=6),
        Column("forecast"), Column(f"reaches to ({zone})", rank=1), Column(f"measured to ({zone})", rank=2),
        Column("asked", right=True, rank=5), Column("failed", right=True, rank=1),
    ]  # fmt: skip


def _from_settings(ctx: click.Context, config: str | None) -> list[dict[str, Any]]:
    from greenrun.api.grid_models import ProviderOut
    from greenrun.config import load_config
    from greenrun.grid.sources import state_of

    settings = load_config(config_path(ctx, config))
    grid = settings.grid
    states = [
        state_of(name, row, grid.provider, grid.history_names, marginal=[grid.marginal or ""])
        for name, row in settings.provider.items()
    ]
    return [ProviderOut.model_validate(state).model_dump(mode="json") for state in states]


def _row(row: Mapping[str, Any], now: datetime) -> list[str]:
    asked = row["asked"]
    return [
        row["name"],
        row["kind"] if row["package"] == OWN else f"{row['kind']} ({row['package']})",
        row["role"],
        _zones(row["zones"]),
        "not needed" if not row["needs_key"] else "unreadable" if row["key_problem"] else "readable",
        f"{_since(row['forecast_at'], now)} ago" if row["forecast_at"] else "-",
        _clock(row["forecast_end"], now),
        _clock(row["measured_until"], now),
        "-" if asked is None else str(asked["requests"]),
        "-" if asked is None else str(sum(asked["failures"].values())),
    ]


def _zones(zones: list[str]) -> str:
    return ", ".join(zones) if 0 < len(zones) <= 2 else f"{len(zones)} zones" if zones else "depends"


def _since(at: str, now: datetime) -> str:
    return duration_text((now - text.instant(at)).total_seconds())


def _clock(at: str | None, now: datetime) -> str:
    return clock_text(text.instant(at), now) if at else "-"


def checked_lines(checked: "Checked", now: datetime) -> list[str]:
    """Return what a source answered, or why it did not, as lines for people."""
    series = checked.series
    kind = ", ".join(part for part in (series.signal, series.accounting, series.basis) if part) if series else ""
    lines = [f"  {checked.label}"] if checked.label else []
    if checked.forecast is None:
        lines.append(f"  forecast: {checked.forecast_problem}")
    else:
        age = duration_text((now - (checked.known_at or now)).total_seconds())
        ahead = duration_text((checked.forecast.end - now).total_seconds())
        lines.append(f"  forecast: {_coverage(checked.forecast, now)}; {age} old, reaches {ahead} ahead")
    if checked.history is not None:
        lines.append(f"  last day: {_coverage(checked.history, now)}")
    elif checked.history_problem:
        lines.append(f"  last day: {checked.history_problem}")
    if checked.dropped:
        lines.append(f"  dropped: {', '.join(f'{count} values ({why})' for why, count in checked.dropped.items())}")
    if checked.zeros:
        lines.append(f"  zeros: {count_text(checked.zeros, 'value')} of 0 g/kWh")
    lines += [f"  warning: {doubt}" for doubt in checked.doubts]
    lines += [f"  the source warns: {said}" for said in checked.warnings]
    if checked.quota_left is not None:
        lines.append(f"  may still be asked: {checked.quota_left} times")
    lines += [f"  {checked.attribution}"] if checked.attribution else []
    return [f"{checked.name}: {checked.zone or 'no zone'}" + (f" ({kind}; g CO2e/kWh)" if kind else ""), *lines]


def _coverage(coverage: "Coverage", now: datetime) -> str:
    holes = coverage.holes
    holes_text = f", {count_text(len(holes), 'hole')}" if holes else ", no holes"
    step = duration_text(coverage.step.total_seconds())
    span = f"{clock_text(coverage.start, now)} to {clock_text(coverage.end, now)}"
    return f"{coverage.slots} slots of {step}, {span}{holes_text}"


def checked_json(checked: "Checked") -> dict[str, Any]:
    """Return what a source answered, or why it did not, as `greenrun providers check --json` prints it."""

    def covered(coverage: "Coverage | None") -> dict[str, Any] | None:
        if coverage is None:
            return None
        holes = [{"start": iso_text(start), "end": iso_text(end)} for start, end in coverage.holes]
        step_s = coverage.step.total_seconds()
        edges = {"start": iso_text(coverage.start), "end": iso_text(coverage.end)}
        return {**edges, "step_s": step_s, "slots": coverage.slots, "holes": holes}

    return {
        "name": checked.name,
        "zone": checked.zone,
        "label": checked.label,
        "attribution": checked.attribution,
        "series": asdict(checked.series) if checked.series else None,
        "known_at": iso_text(checked.known_at) if checked.known_at else None,
        "forecast": covered(checked.forecast),
        "forecast_problem": checked.forecast_problem,
        "history": covered(checked.history),
        "history_problem": checked.history_problem,
        "quota_left": checked.quota_left,
        "dropped": dict(checked.dropped),
        "zeros": checked.zeros,
        "doubts": list(checked.doubts),
        "warnings": list(checked.warnings),
        "answers": checked.answers,
    }
