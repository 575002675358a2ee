"""Which gases the numbers of each source of carbon intensity count, as the sources themselves say."""

from collections.abc import Mapping

NOT_STATED = "not stated by the source"
GASES: Mapping[str, str] = {
    "electricity_maps": "CO2e, GWP100 of the source's factors",
    "energy_charts": "CO2e, GWP100 of the source's factors",
    "entsoe": "CO2e, GWP100 of IPCC AR5 (computed by greenrun)",
    "uk_carbon_intensity": "CO2 alone",
    "watttime": "CO2 alone",
}
