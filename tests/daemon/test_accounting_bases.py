"""[electricity] and [accounting]: what can be told, what goes wrong told at once, and what reports get of it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.config import Config, load_config
from greenrun.config.models import config_hash
from greenrun.core.errors import ConfigError
from greenrun.daemon.accounting_bases import open_bases, open_day_ahead
from greenrun.store import Store

T0 = datetime(2026, 11, 23, tzinfo=UTC)  # a Monday
HOUR = timedelta(hours=1)
PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
FIXED = '[electricity]\ncurrency = "EUR"\nprice = 0.31\n'
CSV = "start,{}\n2026-11-23T00:00Z,{}\n2026-11-23T01:00Z,{}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "greenrun.toml"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "greenrun.db") as opened:
        yield opened


def load(file: Path, text: str, **environ: str) -> Config:
    file.write_text(text, encoding="utf-8")
    return load_config(file, environ)


def told(file: Path, text: str) -> dict[str, str]:
    """The problems of settings by key path."""
    with pytest.raises(ConfigError) as caught:
        load(file, text)
    return {problem.field: problem.message for problem in caught.value.problems}


def price(config: Config, start: datetime = T0) -> float | None:
    """What the hour costs that begins at an instant."""
    found = open_bases(config, None).price
    assert found is not None
    return found(start, start + HOUR).mean(start, start + HOUR)


def test_without_settings_nothing_is_counted(tmp_path: Path) -> None:
    config = load_config(None, {"XDG_CONFIG_HOME": str(tmp_path)})
    bases = open_bases(config, None)
    assert (bases.price, bases.currency, bases.contracts, bases.embodied) == (None, None, None, None)
    assert (bases.td_loss_ratio, bases.water_l_per_kwh) == (0.0, None)


def test_the_examples_of_the_page_on_settings_can_be_used(file: Path) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    clock = next(block for block in blocks if block.startswith("[electricity]"))
    config = load(file, clock)
    assert [price(config, T0 + hours * HOUR) for hours in (0, 6, 21, 22)] == pytest.approx([0.22, 0.34, 0.34, 0.22])
    saturday = T0 + timedelta(days=5, hours=20)
    assert [price(config, saturday + n * HOUR) for n in (0, 1, 8, 9)] == pytest.approx([0.22, 0.18, 0.18, 0.22])
    bases = open_bases(load(file, next(block for block in blocks if block.startswith("[accounting]"))), None)
    assert bases.contracts is not None
    assert bases.embodied is not None
    matched = bases.contracts().matched(T0, T0 + HOUR)
    assert (matched.covered, bases.contracts().residual_g_per_kwh) == (0.8, 725.0)
    assert bases.embodied.factor("NVIDIA H100 80GB HBM3") == 35.0


def test_a_file_of_prices_lies_beside_the_settings_and_gets_what_is_added(file: Path) -> None:
    (file.parent / "prices.csv").write_text(CSV.format("price_per_kwh", -0.05, 0.1), encoding="utf-8")
    text = '[electricity]\ncurrency = "EUR"\nfile = "prices.csv"\nplus = 0.18\ntimes = 1.19\n'
    config = load(file, text)
    assert price(config) == pytest.approx((-0.05 + 0.18) * 1.19)
    assert price(config, T0 + 2 * HOUR) is None


def test_a_file_of_factors_is_a_contract(file: Path) -> None:
    (file.parent / "contract.csv").write_text(CSV.format("g_per_kwh", 10, 30), encoding="utf-8")
    config = load(file, '[accounting]\nmarket_file = "contract.csv"\nmarket_source = "PPA"\n')
    contracts = open_bases(config, None).contracts
    assert contracts is not None
    found = contracts().matched(T0, T0 + 4 * HOUR)
    assert (found.covered, found.g_per_kwh, found.sources) == (0.5, 10.0, ("PPA",))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("electricity.file", '[electricity]\ncurrency = "EUR"\nfile = "prices.csv"\n'),
        ("accounting.market_file", '[accounting]\nmarket_file = "prices.csv"\nmarket_source = "PPA"\n'),
    ],
)
@pytest.mark.parametrize("held", [None, "start,other\n"])
def test_a_file_that_is_no_use_keeps_greenrun_from_starting(file: Path, key: str, text: str, held: str | None) -> None:
    config = load(file, text)
    if held is not None:
        (file.parent / "prices.csv").write_text(held, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{key} cannot be used, so greenrun does not start"):
        open_bases(config, None)


def test_day_ahead_prices_come_from_the_store(file: Path, store: Store) -> None:
    """In euros, with what is added; reports ask nobody."""
    config = load(file, '[electricity]\nkind = "energy_charts"\nbidding_zone = "DE-LU"\nplus = 0.2\n')
    day_ahead = open_day_ahead(config.electricity, store.prices)
    assert day_ahead is not None
    bases = open_bases(config, day_ahead)
    assert bases.price is not None
    assert (bases.currency, len(bases.price(T0, T0 + HOUR))) == ("EUR", 0)
    assert "Energy-Charts" in (bases.attribution or "")
    assert open_day_ahead(Config().electricity, store.prices) is None


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ('price = 0.3\nfile = "x.csv"\nkind = "energy_charts"\n',
         {"electricity.kind": "set together", "electricity.bidding_zone": "is required"}),
        ("price = 0.3\nplus = 0.1\n", {"electricity.currency": "is required", "electricity.plus": "a file or a kind"}),
        ('tariff = [{ price = 0.3 }]\ncurrency = "EUR"\n', {"electricity.timezone": "is required"}),
        ('tariff = [{ price = 0.3 }]\nfile = "x.csv"\ncurrency = "EUR"\ntimezone = "UTC"\n',
         {"electricity.file": "set together"}),
        ('kind = "energy_charts"\nbidding_zone = "FR"\ncurrency = "USD"\n',
         {"electricity.currency": "market prices are in EUR"}),
        ('currency = "euro"\n', {"electricity.currency": "no currency"}),
        ('bidding_zone = "FR"\n', {"electricity.bidding_zone": "energy_charts"}),
        ('price = 0.3\ncurrency = "EUR"\ntimezone = "Mars"\ntariff = [{ from = "7", days = "x", prize = 1 }]\n',
         {"electricity.timezone": "no time zone", "electricity.tariff[0].from": "no time of the day",
          "electricity.tariff[0].days": "names no days", "electricity.tariff[0].price": "is required",
          "electricity.tariff[0].prize": "did you mean 'price'?"}),
        ('price = 0.3\ncurrency = "EUR"\ntimezone = "UTC"\ntariff = [{ from = "24:00", price = 1 }]\n',
         {"electricity.tariff[0]": "begins before 24:00"}),
        ('currency = "EUR"\ntimezone = "UTC"\n'
         'tariff = [{ days = "mon-sat", price = 1 }, { days = "sat", from = "20:00", price = 1 }]\n',
         {"electricity": "two rules claim sat 20:00 to sun 00:00; a time has one price; "
                         "no rule sets the price for sun 00:00"}),
    ],
)  # fmt: skip
def test_what_is_wrong_with_prices_is_told_at_once(file: Path, text: str, problems: dict[str, str]) -> None:
    found = told(file, "[electricity]\n" + text)
    assert set(found) == set(problems)
    assert [key for key, words in problems.items() if words not in found[key]] == []


MARKET = 'market = [{{ from = "2026-01-01", to = "2027-01-01", g_per_kwh = 0, source = "A", share = {} }}, {{ from = "{}", to = "2027-06-01", g_per_kwh = 9, source = "B" }}]\n'  # noqa: E501


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (MARKET.format(0.5, "2026-06-01"), {"accounting": "at 2026-06-01T00:00:00+00:00 the contracts"}),
        (MARKET.format(2, "2028-01-01"),
         {"accounting.market[0].share": "less than or equal to 1", "accounting.market[1]": "later than"}),
        (MARKET.format(1, "2026-13-01") + 'market_file = "x"\n',
         {"accounting.market[1].from": "is no day", "accounting.market_file": "both set",
          "accounting.market_source": "is required"}),
        ('market_source = "x"\ntd_loss_ratio = 1.5\nwater_l_per_kwh = -1\nresidual_g_per_kwh = 9999\n',
         {"accounting.market_source": "market_file only", "accounting.td_loss_ratio": "less than or equal to 1",
          "accounting.water_l_per_kwh": "greater than or equal to 0",
          "accounting.residual_g_per_kwh": "less than or equal to 5000"}),
        ("[accounting.embodied]\ng_per_gpu_hour = 1\n", {"accounting.embodied.source": "is required"}),
        ('[accounting.embodied]\nsource = "x"\n', {"accounting.embodied": "set either g_per_gpu_hour"}),
        ('[accounting.embodied]\nsource = "x"\ng_per_gpu_hour = { A100 = "a" }\n',
         {"accounting.embodied.g_per_gpu_hour": "is not grams per hour"}),
        ('[accounting.embodied]\nsource = "x"\ntotal_kg = 1\n', {"accounting.embodied": "belong together"}),
        ('[accounting.embodied]\nsource = "x"\ntotal_kg = 1\nlifetime = "0y"\n',
         {"accounting.embodied.lifetime": "longer than zero"}),
    ],
)  # fmt: skip
def test_what_is_wrong_with_other_bases_is_told_at_once(file: Path, text: str, problems: dict[str, str]) -> None:
    found = told(file, "[accounting]\n" + text)
    assert set(found) == set(problems)
    assert [key for key, words in problems.items() if words not in found[key]] == []


def test_a_contract_follows_another_one(file: Path) -> None:
    text = "[accounting]\n" + MARKET.format(1, "2027-01-01T00:00:00+00:00")
    assert [row.end.year for row in load(file, text).accounting.market] == [2027, 2027]


def test_variables_state_them_too(file: Path) -> None:
    rows = '[{"from": "07:00", "to": "23:00", "price": 0.4}]'
    variables = {"PRICE": "0.3", "CURRENCY": "EUR", "TIMEZONE": "UTC", "TARIFF": rows}
    config = load(file, "", **{f"GREENRUN_ELECTRICITY__{key}": value for key, value in variables.items()})
    assert (price(config), price(config, T0 + 7 * HOUR)) == (pytest.approx(0.3), pytest.approx(0.4))


def test_the_hash_follows_what_decides_figures_and_nothing_else(file: Path) -> None:
    def made(text: str) -> str:
        return config_hash(load(file, text))

    wide = FIXED + "[uncertainty]\nmeasured = 0.02\n"
    other: Any = {FIXED, FIXED.replace("0.31", "0.32"), FIXED + "[devices]\npue = 1.2\n", wide, ""}
    assert len({made(text) for text in other}) == len(other)
    key = '[provider.maps]\nkind = "electricity_maps"\nkey_file = "{}"\ntimeout = "{}"\n'
    assert made(key.format("a.key", "5s")) == made(key.format("b.key", "9s"))
    assert made(FIXED) == made(FIXED + '[log]\nlevel = "debug"\n[planner]\ntick = "9s"\n')
