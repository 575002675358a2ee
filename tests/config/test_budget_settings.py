"""[budget]: every wrong setting at once, by its key path, and what is right as a value of the core."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from greenrun.config import load_config
from greenrun.core.budgets.budget import Measure, OverBudget, Owner, OwnerKind
from greenrun.core.budgets.calendar_period import PeriodKind
from greenrun.core.errors import ConfigError

GOOD = """
[grid]
zone = "GB"
provider = "usual"
[provider.usual]
kind = "static"
[electricity]
price = 0.3
currency = "EUR"
[budget]
timezone = "Europe/Berlin"
[budget.project.vision]
kg_co2e = 40
money = 60
over = "ask"
period = "week"
[budget.user."*"]
gpus = 2
[budget.user.ada]
gpu_hours = 5
keep_limits = true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "greenrun.toml"


def told(file: Path, text: str) -> dict[str, str]:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_config(file, {})
    return {row.field: row.message for row in refused.value.problems}


def test_a_user_without_a_table_has_that_of_all(file: Path) -> None:
    file.write_text(GOOD, encoding="utf-8")
    found = load_config(file, {}).budget.in_effect("EUR")
    vision, ada, bob = (
        found.of(Owner(kind, name))
        for kind, name in ((OwnerKind.PROJECT, "vision"), (OwnerKind.USER, "ada"), (OwnerKind.USER, "bob"))
    )
    assert vision is not None
    assert (vision.most, vision.over, vision.period) == (
        {Measure.KG_CO2E: 40.0, Measure.MONEY: 60.0}, OverBudget.ASK, PeriodKind.WEEK,
    )  # fmt: skip
    assert ada is not None
    assert (ada.gpus, ada.most, ada.keep_limits) == (None, {Measure.GPU_HOURS: 5.0}, True)
    assert bob is not None
    assert bob.gpus == 2
    assert found.of(Owner(OwnerKind.PROJECT, "nlp")) is None
    assert found.owners("ada", "vision") == (Owner(OwnerKind.PROJECT, "vision"), Owner(OwnerKind.USER, "ada"))
    assert found.zone == ZoneInfo("Europe/Berlin")


def test_all_that_is_wrong_is_told_at_once(file: Path) -> None:
    text = """
[budget]
timezone = "Mars/Base"
[budget.project.vision]
kg_co2e = -1
gpu_hours = 0
money = 5
gpus = 0
queued_jobs = 1.5
period = "day"
over = "kill"
[budget.user."*"]
[budget.user.ada]
kwh = inf
gpu = 3
[budget.user.bob]
kwh = 1e12
"""
    found = told(file, text)
    assert set(found) == {
        "budget.timezone",
        *(f"budget.project.vision.{key}" for key in ("kg_co2e", "gpu_hours", "money", "gpus", "queued_jobs")),
        "budget.project.vision.period", "budget.project.vision.over", "budget.user.*", "budget.user.ada.kwh",
        "budget.user.ada.gpu", "budget.user.bob.kwh",
    }  # fmt: skip
    assert found["budget.user.ada.gpu"] == "unknown key; did you mean 'gpus'?"
    assert found["budget.user.*"].startswith("limits nothing: set one of queued_jobs, gpus")


@pytest.mark.parametrize(
    ("key", "said"), [("kg_co2e", "set grid.zone"), ("money", "needs the price of a kWh: set [electricity]")]
)
def test_a_budget_of_what_nobody_knows_is_refused(file: Path, key: str, said: str) -> None:
    assert said in told(file, f"[budget.user.ada]\n{key} = 5\n")[f"budget.user.ada.{key}"]
