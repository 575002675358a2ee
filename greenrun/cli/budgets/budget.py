"""`greenrun budget`: what is left of budgets and quotas, who used it, and what the queue will take."""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from greenrun.cli import text
from greenrun.cli.command import Command
from greenrun.cli.options import connect, daemon_options, print_json
from greenrun.cli.tables import Column, print_table
from greenrun.clock import utc_now
from greenrun.core.budgets.budget import Measure, amount_text, hours_text
from greenrun.core.formatting import clock_text, count_text, percent_text

if TYPE_CHECKING:
    from greenrun.client import Answer

_COLUMNS = (
    Column("of"), Column("limit", right=True), Column("used", right=True), Column("running", right=True, rank=3),
    Column("queued", right=True, rank=3), Column("left", right=True), Column("used %", right=True, rank=2),
)  # fmt: skip
_NOTHING_SET = """No budgets or quotas are set here: nobody's use is limited. Whoever runs this machine may set them
in its settings (greenrun config path), for users and projects by name, or with "*" for all that have none of their own:

  [budget.project.vision]
  kg_co2e = 10        # a month; also gpu_hours, kwh and money
  gpus = 4            # at once"""
_WHAT = {
    Measure.GPU_HOURS: "GPU time",
    Measure.KWH: "energy",
    Measure.KG_CO2E: "emissions",
    Measure.MONEY: "electricity cost",
}
_OVER = {
    "wait": "jobs without room wait for the next {period}",
    "refuse": "jobs without room are refused",
    "ask": "jobs without room wait until an admin lets them go (greenrun approve)",
}


@click.command("budget", cls=Command)
@daemon_options
@click.pass_context
def budget(ctx: click.Context, as_json: bool, socket: str | None, config: str | None) -> None:
    """Show what is left of budgets and quotas, who used it, and what the queue will take.

    Shown are your own, and those of the projects that you may submit to; to admins, everybody's.

    \b
    greenrun budget
    greenrun budget --json
    """
    answer = connect(ctx, socket, config).budgets()
    if as_json:
        print_json(answer)
        return
    if not answer["is_set"]:
        print(_NOTHING_SET)
    elif not answer["budgets"]:
        print("Budgets are set here, and none is yours: you and your projects are not limited.")
    for index, row in enumerate(answer["budgets"]):
        print("\n" if index else "", end="")
        _print_budget(row, utc_now())


def _print_budget(row: "Answer", now: datetime) -> None:
    name = text.printable(row["name"])
    if row["lines"]:
        end = clock_text(text.instant(row["end"]), now)
        over = _OVER[row["over"]].format(period=row["period"])
        print(f"{row['kind']} {name}: {row['period_name']}, until {end}; {over}")
        print_table(_COLUMNS, [_line(line, row["currency"]) for line in row["lines"]])
        for line in filter(None, (_assumption(line, row["currency"]) for line in row["lines"])):
            print(f"  {line}")
    else:
        print(f"{row['kind']} {name}: quotas of what it holds at once")
    for quota in _quotas(row):
        print(f"  {quota}")
    if row["users"]:
        print(f"  used by {'; '.join(_user(user, row) for user in row['users'])}")


def _line(line: "Answer", currency: str | None) -> list[str]:
    measure = Measure(line["measure"])
    amounts = [_cell(line[name], measure, currency) for name in ("limit", "used", "running", "queued", "left")]
    amounts[1] = amounts[1] if line["is_known"] else f"{amounts[1]} at least"
    return [_WHAT[measure], *amounts, percent_text(line["ratio"])]


def _cell(amount: float, measure: Measure, currency: str | None) -> str:
    return f"{hours_text(amount)} h" if measure is Measure.GPU_HOURS else amount_text(amount, measure, currency)


def _assumption(line: "Answer", currency: str | None) -> str:
    measure = Measure(line["measure"])
    if not line["is_known"]:
        return f"some of what was used is not in the {_WHAT[measure]}: nothing is known to reckon it by"
    if not line["assumed"]:
        return ""
    said = amount_text(line["assumed"], measure, currency)
    return f"{said} of what was used is an estimate, for what was not measured or not priced"


def _quotas(row: "Answer") -> list[str]:
    found = []
    if row["gpus_limit"] is not None:
        kept = f", {row['gpus_kept']} kept for queued jobs" if row["gpus_kept"] else ""
        found.append(f"GPUs at once: {row['gpus_held']} of {row['gpus_limit']} held{kept}")
    waiting = f", of which {row['jobs_waiting']} wait for room" if row["jobs_waiting"] else ""
    if row["queued_limit"] is not None:
        found.append(f"queued jobs: {row['jobs_queued']} of {row['queued_limit']}{waiting}")
    elif waiting:
        found.append(f"{count_text(row['jobs_queued'], 'queued job')}{waiting}")
    return found


def _user(user: "Answer", row: "Answer") -> str:
    measures = [Measure(line["measure"]) for line in row["lines"]] or [Measure.GPU_HOURS]
    known = [each for each in measures if user[each.value] is not None]
    amounts = [amount_text(user[each.value], each, row["currency"]) for each in known]
    return f"{text.printable(user['user'])} {', '.join(amounts) or 'nothing yet'}"
