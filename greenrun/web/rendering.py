"""The page's templates, and how they say instants and figures. Jinja2 is loaded when the first page is asked for."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from greenrun.core.formatting import (
    count_text,
    duration_text,
    energy_text,
    instant_text,
    intensity_text,
    intensity_unit,
    iso_text,
    mass_text,
    memory_text,
    number_text,
    percent_text,
    power_text,
    split_at_instants,
)

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


# What commands a reader's screen instead of being read: it turns the order of what follows, or is not seen at all.
# Tabs and ends of lines stay, and so do the joiners (U+200C, U+200D) that scripts and emoji are written with.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return a template with these values, each text of which it escapes."""
    return _templates().get_template(template).render(values)


def as_markup(html: str) -> "Markup":
    """Return what `render` returned, in which all is escaped already, as a part of another template."""
    from markupsafe import Markup

    return Markup(html)


def visible(text: str) -> str:
    """Return a text of anybody's in which signs that are not seen are escaped, so that none makes it read as another.

    A name must not turn around what stands beside it: whose the job is, say.
    """
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _finished(value: object) -> object:
    return visible(value) if type(value) is str else value  # of what is markup each part was


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("greenrun.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, auto_reload=False, finalize=_finished,
    )  # fmt: skip
    pages.filters |= {
        "time": time_element,
        "sentence": sentence,
        "mass": mass_text,
        "power": power_text,
        "energy": energy_text,
        "memory": memory_text,
        "intensity": intensity_text,
        "intensity_unit": intensity_unit,
        "duration": duration_text,
        "percent": percent_text,
        "number": number_text,
    }
    pages.globals |= {"count": count_text}
    return pages


def time_element(at: datetime | None, form: str = "day") -> "Markup":
    """Return an instant that the browser shows in the reader's own zone, with UTC on hover; without scripts in UTC."""
    from markupsafe import Markup

    if at is None:
        return Markup("\N{EN DASH}")
    at = at.astimezone(UTC)
    attributes = f'datetime="{iso_text(at)}" title="{instant_text(at)}" data-form="{form}"'  # no text of anybody's
    return Markup(f"<time {attributes}>{at:%b %d %H:%M} UTC</time>")


def sentence(text: str) -> "Markup":
    """Return a sentence of the daemon's, whose instants the browser shows in the reader's own zone."""
    from markupsafe import Markup, escape

    parts = (escape(visible(part)) if isinstance(part, str) else time_element(part) for part in split_at_instants(text))
    return Markup("").join(parts)


def capitalised(text: str) -> str:
    """Return a reason as a sentence begins."""
    return f"{text[:1].upper()}{text[1:]}"
