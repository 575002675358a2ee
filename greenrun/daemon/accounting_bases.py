"""What reports go by beside the location's average, as it is set: prices, contracts, embodied grams, ratios."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from greenrun.config.accounting import AccountingSettings
from greenrun.config.electricity import ElectricitySettings
from greenrun.config.models import Config
from greenrun.core.accounting.market_based import Contract, Contracts
from greenrun.core.accounting.step_function import Steps
from greenrun.core.errors import ConfigError, ProviderError
from greenrun.core.units import ABSURD_G_PER_KWH
from greenrun.grid.electricity import DayAheadPrices, PriceStore
from greenrun.providers.csv_files.values import ValueFile
from greenrun.reports.cost_and_scope2 import Bases

HIGHEST_PER_KWH = 1000.0

Price = Callable[[datetime, datetime], Steps]


def open_day_ahead(electricity: ElectricitySettings, store: PriceStore) -> DayAheadPrices | None:
    """Return the fetched and stored day-ahead prices; None if they are not configured."""
    if electricity.kind is None:
        return None
    from greenrun.grid.day_ahead import DayAhead  # with httpx, which a daemon without HTTP sources need not load

    source = DayAhead(electricity.bidding_zone or "", url=electricity.url, timeout=electricity.timeout)
    return DayAheadPrices(source, store)


def open_bases(config: Config, day_ahead: DayAheadPrices | None) -> Bases:
    """Return the configured bases; raise ConfigError for a file that cannot be used."""
    electricity, accounting = config.electricity, config.accounting
    return Bases(
        price=_price(electricity, day_ahead),
        currency=day_ahead.currency if day_ahead else electricity.currency,
        attribution=day_ahead.attribution if day_ahead else None,
        contracts=_contracts(accounting),
        embodied=accounting.embodied.embodied if accounting.embodied else None,
        td_loss_ratio=accounting.td_loss_ratio,
        water_l_per_kwh=accounting.water_l_per_kwh,
    )


def _price(electricity: ElectricitySettings, day_ahead: DayAheadPrices | None) -> Price | None:
    plus, times = electricity.plus, electricity.times
    if day_ahead is not None:
        return lambda start, end: day_ahead.kept(start, end).scaled(plus=plus, times=times)
    if electricity.file is not None:
        bounds = {"lowest": -HIGHEST_PER_KWH, "highest": HIGHEST_PER_KWH}
        file = _opened("electricity.file", partial(ValueFile, electricity.file, "price_per_kwh", **bounds))
        return lambda start, end: file.steps().scaled(plus=plus, times=times)
    tariff = electricity.by_the_clock
    return tariff.steps if tariff else None


def _contracts(accounting: AccountingSettings) -> Callable[[], Contracts] | None:
    residual, source, instrument = (
        accounting.residual_g_per_kwh, accounting.market_source or "", accounting.market_instrument,
    )  # fmt: skip
    if accounting.market_file is not None:
        bounds = {"lowest": 0.0, "highest": ABSURD_G_PER_KWH}
        file = _opened("accounting.market_file", partial(ValueFile, accounting.market_file, "g_per_kwh", **bounds))
        return lambda: Contracts(
            rows=[Contract(source=source, factors=file.steps(), instrument=instrument)], residual_g_per_kwh=residual
        )
    if not accounting.market and residual is None:
        return None
    contracts = Contracts(rows=[row.contract for row in accounting.market], residual_g_per_kwh=residual)
    return lambda: contracts


def _opened(key: str, opening: Callable[[], ValueFile]) -> ValueFile:
    try:
        return opening()
    except ProviderError as exc:
        raise ConfigError(f"{key} cannot be used, so greenrun does not start: {exc}") from exc
