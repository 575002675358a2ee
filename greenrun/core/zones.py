"""Which grid areas there can be, so that a typing error is told at once instead of a forecast never coming."""

import re
from difflib import get_close_matches

# ISO 3166-1 alpha-2, and XK (Kosovo), which the sources use too
_COUNTRY_CODES = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
    GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO
    JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR
    MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO
    RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV
    TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""
COUNTRIES = frozenset(_COUNTRY_CODES.split())
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
    return text == SYNTHETIC or bool(_BALANCING_AREA.fullmatch(text))


def nearest_zone(text: str) -> str | None:
    """Return the zone that `text` probably means, or None when nothing is near enough to suggest."""
    upper = text.strip().upper()
    if is_zone(upper):
        return upper
    near = get_close_matches(upper, [*_MEANT, SYNTHETIC], n=1, cutoff=0.8)
    return _MEANT.get(near[0], near[0]) if near else None
