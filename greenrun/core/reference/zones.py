"""Which grid areas there can be, so that a typing error is told at once instead of a forecast never coming."""

import re
from difflib import get_close_matches

from greenrun.core.reference.countries import COUNTRIES as COUNTRIES

SYNTHETIC = "SYNTHETIC"
FORMS = 'a country ("GB"), a part of one ("US-CAL-CISO"), a region ("GB:13"), a balancing area ("CAISO_NORTH")'

_PLACE = re.compile(r"([A-Z]{2})(-[A-Z0-9]{1,8}){0,3}(:[A-Z0-9]{1,10})?", re.ASCII)
_BALANCING_AREA = re.compile(r"[A-Z0-9]{2,}(_[A-Z0-9]+)+", re.ASCII)
_MEANT = {
    "UK": "GB", "EL": "GR", "USA": "US", "CAISO": "US-CAL-CISO", "CISO": "US-CAL-CISO", "ENGLAND": "GB:15",
    "SCOTLAND": "GB:16", "WALES": "GB:17", "LONDON": "GB:13", "GERMANY": "DE", "FRANCE": "FR", "DK1": "DK-DK1",
    "DK2": "DK-DK2", "SPAIN": "ES", "ITALY": "IT", "DENMARK": "DK", "SWEDEN": "SE", "NORWAY": "NO", "POLAND": "PL",
    "NETHERLANDS": "NL", "AUSTRALIA": "AU", "INDIA": "IN", "CALIFORNIA": "US-CAL-CISO",
}  # fmt: skip


def is_zone(text: str) -> bool:
    """Whether `text` has the form of a grid area in a known country, or of a balancing area."""
    place = _PLACE.fullmatch(text)
    if place:
        return place[1] in COUNTRIES
    return text == SYNTHETIC or is_balancing_area(text)


def is_balancing_area(text: str) -> bool:
    """Whether `text` has the form of a balancing area, as WattTime names them."""
    return bool(_BALANCING_AREA.fullmatch(text))


def nearest_zone(text: str) -> str | None:
    """Return the zone that `text` probably means, or None when nothing is near enough to suggest."""
    upper = text.strip().upper()
    if is_zone(upper):
        return upper
    near = get_close_matches(upper, [*_MEANT, SYNTHETIC], n=1, cutoff=0.8)
    return _MEANT.get(near[0], near[0]) if near else None
