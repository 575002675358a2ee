"""Which sources suit a zone: one that needs no key where there is one, a yearly mean behind it, or one with a key."""

from dataclasses import dataclass
from pathlib import Path

from greenrun.core.errors import InputProblem
from greenrun.core.reference.countries import COUNTRIES
from greenrun.core.reference.zones import FORMS, SYNTHETIC, is_balancing_area, is_zone, nearest_zone
from greenrun.providers import find_kind
from greenrun.providers.kinds import BUILT_IN
from greenrun.providers.static import yearly_means

UK_ZONE = "GB"
UK, STATIC, ENTSOE, MAPS, WATTTIME = "uk_carbon_intensity", "static", "entsoe", "electricity_maps", "watttime"
KEY_FILES = {ENTSOE: "entsoe.key", MAPS: "electricity_maps.key", WATTTIME: "watttime.password"}
KEYS = {
    ENTSOE: "a security token of the ENTSO-E Transparency Platform, free, by e-mail to them",
    MAPS: "a key of electricitymaps.com",
    WATTTIME: "an account at watttime.org (CAISO_NORTH is free)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChoice:
    """The kinds of source that suit a zone: `open` needs no key, `keyed` does; None where there is none.

    `mean_g_per_kwh` is the packaged yearly mean, of `year`. `country_open` serves, without a key, the
    country that the zone is a part of.
    """

    zone: str
    name: str
    open: str | None = None
    keyed: str | None = None
    mean_g_per_kwh: float | None = None
    year: int | None = None
    country_open: str | None = None


def zone_problem(zone: str) -> InputProblem | None:
    """Return what is wrong with a zone; None if there can be such a grid area, and it is no made-up one."""
    if is_zone(zone) and zone != SYNTHETIC:
        return None
    if zone == SYNTHETIC:
        return InputProblem(field="--zone", message=f"{zone} is the made-up zone of demonstrations; name your own")
    nearest = nearest_zone(zone)
    hint = f"; did you mean {nearest}?" if nearest else "; `greenrun zones --search COUNTRY` finds yours"
    return InputProblem(field="--zone", message=f"unknown zone {zone!r}: use {FORMS}{hint}")


def choose_sources(zone: str) -> SourceChoice:
    """Return the sources that suit a zone, of greenrun's own kinds; asks nobody."""
    mean, country = yearly_means().get(zone), zone[:2]
    names = [find_kind(kind).zones.get(zone) for kind in BUILT_IN]
    return SourceChoice(
        zone=zone,
        name=next((name for name in names if name), COUNTRIES.get(zone, "")),
        open=_open(zone),
        keyed=_keyed(zone),
        mean_g_per_kwh=mean.g_per_kwh if mean else None,
        year=mean.year if mean else None,
        country_open=_open(country) if country in COUNTRIES and country != zone else None,
    )


def _open(zone: str) -> str | None:
    if zone.startswith(f"{UK_ZONE}:"):
        return UK  # a region, or a postcode, which no list has
    return next((kind for kind in BUILT_IN if not find_kind(kind).needs_key and zone in find_kind(kind).zones), None)


def _keyed(zone: str) -> str | None:
    if zone in find_kind(ENTSOE).zones:
        return ENTSOE
    return WATTTIME if is_balancing_area(zone) else MAPS


def has_key(choice: SourceChoice, folder: Path) -> bool:
    """Whether the key of the source that needs one lies beside the settings; a file is not looked into."""
    return choice.keyed in (ENTSOE, MAPS) and (folder / KEY_FILES[choice.keyed]).is_file()
