"""What a kWh of each kind of generation emits, for sources that tell how power is made but not what that emits."""

from collections.abc import Mapping
from enum import StrEnum

from greenrun.core.carbon.intensity import Basis


class Fuel(StrEnum):
    """A kind of generation, as far as factors tell kinds apart."""

    BIOMASS = "biomass"
    COAL = "coal"
    GAS = "gas"
    GEOTHERMAL = "geothermal"
    HYDRO = "hydro"
    NUCLEAR = "nuclear"
    OIL = "oil"
    SOLAR = "solar"
    WIND = "wind"
    UNKNOWN = "unknown"


# Medians over the world's plants: IPCC AR5, Working Group III, Annex III, table A.III.2 (solar lies between its roofs
# and its parks, wind is on land). Oil and unknown are not in that table; unknown is taken for a mix of fossil fuels.
G_PER_KWH: Mapping[Basis, Mapping[Fuel, float]] = {
    Basis.LIFECYCLE: {
        Fuel.BIOMASS: 230, Fuel.COAL: 820, Fuel.GAS: 490, Fuel.GEOTHERMAL: 38, Fuel.HYDRO: 24, Fuel.NUCLEAR: 12,
        Fuel.OIL: 650, Fuel.SOLAR: 45, Fuel.WIND: 11, Fuel.UNKNOWN: 700,
    },
    Basis.DIRECT: {
        Fuel.BIOMASS: 0, Fuel.COAL: 760, Fuel.GAS: 370, Fuel.GEOTHERMAL: 0, Fuel.HYDRO: 0, Fuel.NUCLEAR: 0,
        Fuel.OIL: 406, Fuel.SOLAR: 0, Fuel.WIND: 0, Fuel.UNKNOWN: 575,
    },
}  # fmt: skip


def intensity_g_per_kwh(mix: Mapping[Fuel, float], basis: Basis) -> float | None:
    """Return the mean intensity of a mix, given as amounts of one unit, none negative; None for a mix of nothing."""
    total = sum(mix.values())
    if not total > 0:
        return None
    return sum(amount * G_PER_KWH[basis][fuel] for fuel, amount in mix.items()) / total
