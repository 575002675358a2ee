"""The kinds of provider: greenrun's own, and those that installed packages declare as entry points."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from greenrun.core.errors import ConfigError
from greenrun.providers.plugins import FAILURES, checked_zones, error_text, package_of, unusable, usable
from greenrun.providers.provider import ProviderKind
from greenrun.providers.settings import ProviderSettings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "greenrun.providers"

# Entry points, loaded on demand: a daemon imports only the sources that it uses. Listed here, they also work from
# a source tree, and are found without scanning the installed packages.
BUILT_IN = {
    "file": "greenrun.providers.file:PROVIDER",
    "static": "greenrun.providers.static:PROVIDER",
    "uk_carbon_intensity": "greenrun.providers.uk_carbon_intensity:PROVIDER",
    "electricity_maps": "greenrun.providers.electricity_maps:PROVIDER",
    "watttime": "greenrun.providers.watttime:PROVIDER",
    "energinet": "greenrun.providers.energinet:PROVIDER",
    "carbon_aware_sdk": "greenrun.providers.carbon_aware_sdk:PROVIDER",
    "json": "greenrun.providers.json_rates:PROVIDER",
    "energy_charts": "greenrun.providers.energy_charts:PROVIDER",
    "entsoe": "greenrun.providers.entsoe.entsoe:PROVIDER",
}


def kind_names() -> list[str]:
    """Return the names of all kinds, greenrun's own first; none of them is loaded."""
    return [*BUILT_IN, *(name for name in _installed() if name not in BUILT_IN)]


@cache
def find_kind(name: str) -> ProviderKind:
    """Return the kind of that name; raise ConfigError if there is none.

    A plug-in that cannot be used is still a kind, with a `problem`: its providers refuse every request and say why;
    the others are not affected.
    """
    if name in BUILT_IN:
        built_in: ProviderKind = resolve_name(BUILT_IN[name])
        return built_in
    entries = _installed().get(name)
    if not entries:
        raise ConfigError(f"unknown kind {name!r}; known are {', '.join(kind_names())}")
    return _load(entries)


def name_clashes() -> list[str]:
    """Return a sentence for each plug-in that is ignored because greenrun has a kind of that name itself."""
    return [
        f"{package_of(entry)} declares a kind of provider named {name!r}, which is greenrun's own; the package's is"
        " ignored: ask its author for another name"
        for name, entries in _installed().items()
        if name in BUILT_IN
        for entry in entries
    ]


@cache
def _installed() -> Mapping[str, Sequence["EntryPoint"]]:
    """Return the entry points of installed packages by the name of the kind."""
    from importlib.metadata import entry_points  # slow, and rarely needed

    found = defaultdict(list)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, package_of(entry))):
        found[entry.name].append(entry)
    return dict(found)


def _load(entries: Sequence["EntryPoint"]) -> ProviderKind:
    first, package = entries[0], " and ".join(package_of(entry) for entry in entries)
    if len(entries) > 1:
        clash = f"{package} each declare a kind of provider named {first.name!r}"
        return unusable(package, f"{clash}; uninstall all but one")
    try:
        loaded = first.load()
    except FAILURES as exc:
        failed = f"the kind of provider {first.name!r} of {package} cannot be imported ({error_text(exc)})"
        return unusable(package, f"{failed}; update or uninstall that package")
    problem = _problem(loaded)
    if problem:
        return unusable(package, f"{first.value} of {package} {problem}; ask its author to correct that")
    kind: ProviderKind = loaded
    return replace(kind, open=usable(kind, package), zones=checked_zones(kind.zones), package=package)


def _problem(loaded: object) -> str | None:
    """Return why what a package declares cannot be used as a kind; None where it can."""
    if not isinstance(loaded, ProviderKind):
        return f"is a {type(loaded).__name__} and not a ProviderKind"
    if not (isinstance(loaded.settings, type) and issubclass(loaded.settings, ProviderSettings)):
        return "has settings that are not a ProviderSettings"
    if not callable(loaded.open):
        return f"has an `open` that is a {type(loaded.open).__name__} and no function"
    if not isinstance(loaded.zones, Mapping):
        return f"has zones that are a {type(loaded.zones).__name__} and no mapping of zones to their names"
    try:
        checked_zones(loaded.zones)
    except FAILURES as exc:
        return f"has zones that cannot be used ({error_text(exc)})"
    return None
