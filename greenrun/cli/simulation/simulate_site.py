"""What `greenrun simulate --site` takes of the settings: shares, a cap on power, budgets and what is said of GPUs."""

from dataclasses import dataclass, field
from pathlib import Path

from greenrun.config import load_config
from greenrun.core.errors import InputProblem
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.core.planning.precedence.fair_share import Shares
from greenrun.daemon.accounting_bases import open_bases
from greenrun.engine.budgets.present_charges import BudgetRules
from greenrun.simulation.site_rules import SiteRules

WHERE = "--site"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLimits:
    """What the settings set; `power_limit` is what jobs allow of their GPUs that do not say."""

    rules: SiteRules = field(default_factory=SiteRules)
    shares: Shares = field(default_factory=Shares)
    power: SitePower | None = None
    power_limit: str = ""


def read_site(config_path: Path | None, problems: list[InputProblem]) -> SiteLimits:
    """Return what the settings set; add what a simulation cannot do to the problems."""
    config = load_config(config_path)
    bases = open_bases(config, None)
    budgets = config.budget.in_effect(bases.currency)
    is_paid = any(row.money is not None for row in (*config.budget.user.values(), *config.budget.project.values()))
    if is_paid and bases.price is None:
        why = "a budget in money needs prices that the settings hold, and not those that are fetched ([electricity])"
        problems.append(InputProblem(field=WHERE, message=why))
    excluded = []
    for name in config.devices.exclude:
        if name.isdigit():
            excluded.append(int(name))
        else:
            why = f"devices.exclude names {name}, which is no simulated GPU: those have numbers"
            problems.append(InputProblem(field=WHERE, message=why))
    default = config.gpu_power_limit.default_cap
    return SiteLimits(
        rules=SiteRules(
            budgets=BudgetRules(budgets=budgets, price=bases.price),
            reserved=tuple(row.weekly(name) for name, row in config.devices.reserved.items()),
            excluded=frozenset(excluded),
            power_limits=config.gpu_power_limit.in_effect,
            pue=config.devices.pue,
        ),
        shares=config.fair_share.in_effect,
        power=config.site_power.in_effect,
        power_limit=str(default) if default else "",
    )
