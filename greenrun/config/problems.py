"""Describe invalid settings in sentences with key paths: single values, and combinations."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from greenrun.config.values import parse_names
from greenrun.core.errors import InputProblem, without_type
from greenrun.core.reference.zones import FORMS, is_zone, nearest_zone

_OF_ANY_ZONE = frozenset({"file", "json"})  # kinds whose values are of whichever zone somebody says
_TABLE_ERRORS = frozenset({"model_type", "model_attributes_type", "dict_type", "mapping_type"})

MARGINAL_KIND = "watttime"  # the only one that never provides averages


def value_problems(error: ValidationError, model: type[BaseModel], prefix: str = "") -> Iterator[InputProblem]:
    """Yield what pydantic found wrong with values of `model`, which stands at key path `prefix`."""
    for detail in error.errors(include_url=False):
        field = prefix + "".join(map(_part, detail["loc"]))
        yield InputProblem(field=field.lstrip("."), message=_sentence(detail, model))


def _part(part: int | str) -> str:
    """Return a step of a key path as it is written; that a name itself is wrong is no step."""
    if isinstance(part, int):
        return f"[{part}]"
    return "" if part == "[key]" else f".{part}" if part else '.""'


def reference_problems(raw: Mapping[str, Any]) -> Iterator[InputProblem]:
    """Yield problems of the grid's references to providers, in settings that need not be valid otherwise."""
    grid, providers = table(raw, "grid"), table(raw, "provider")
    zone = grid.get("zone") or None
    watched = [("grid.zone", zone), *(("grid.also", other) for other in _names(grid.get("also")))]
    for field, each in watched:
        if isinstance(each, str):
            yield from _zone_problems(field, each, providers, _names(grid.get("provider")))
    if _names(grid.get("also")):
        yield from _vague_problems(providers)
    yield from _marginal_problems(grid, providers)
    for key in ("provider", "history_provider", "marginal"):
        for name in _names(grid.get(key)):
            if name not in providers:
                yield InputProblem(field=f"grid.{key}", message=f"there is no [provider.{name}]; {_listed(providers)}")
    named = _names(grid.get("provider")) or _names(grid.get("history_provider"))
    if zone and not named:
        yield InputProblem(
            field="grid.provider",
            message=f"zone {zone!r} has no source; name one here, or remove grid.zone (emissions are then unknown)",
        )
    if named and not zone:
        yield InputProblem(
            field="grid.zone", message=f"is required with a provider, because greenrun guesses no place; use {FORMS}"
        )


def _marginal_problems(grid: Mapping[str, Any], providers: Mapping[str, Any]) -> Iterator[InputProblem]:
    """Yield why the source of marginal values cannot be one; it is never taken for the average's."""
    for name in _names(grid.get("marginal")):
        stated = table(providers, name)
        if name in {*_names(grid.get("provider")), *_names(grid.get("history_provider"))}:
            message = f"[provider.{name}] is used for averages already; name another source, or leave this out"
            yield InputProblem(field="grid.marginal", message=message)
        elif stated and stated.get("kind") != MARGINAL_KIND and stated.get("signal") != "marginal":
            message = f"[provider.{name}] serves averages; name one of the kind {MARGINAL_KIND!r}, or with"
            yield InputProblem(field="grid.marginal", message=f'{message} signal = "marginal"')


def table(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the table at `key`, empty when there is none or something else stands there."""
    found = raw.get(key)
    return found if isinstance(found, Mapping) else {}


def meant(word: str, known: list[str]) -> str:
    """Return a suggestion for an unknown word."""
    near = get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


def _zone_problems(
    field: str, zone: str, providers: Mapping[str, Any], names: tuple[str, ...]
) -> Iterator[InputProblem]:
    stated = {name: table(providers, name).get("zone") for name in providers}
    if not is_zone(zone) and zone not in stated.values():
        nearest = nearest_zone(zone)
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        yield InputProblem(field=field, message=f"unknown zone {zone!r}; use {FORMS}{hint}")
    others = [stated.get(name) for name in names]
    if others and all(other and other != zone for other in others):
        served = ", ".join(f"{name!r} serves {stated[name]!r}" for name in names)
        yield InputProblem(field=field, message=f"no provider serves zone {zone!r}: {served}; make them agree")


def _vague_problems(providers: Mapping[str, Any]) -> Iterator[InputProblem]:
    """Yield which providers do not say of which zone their values are, where there are several."""
    for name in providers:
        stated = table(providers, name)
        is_any = stated.get("kind") in _OF_ANY_ZONE or (stated.get("kind") == "static" and "g_per_kwh" in stated)
        if is_any and not stated.get("zone"):
            message = "is required with grid.also: its values would pass for those of every zone, so say whose they are"
            yield InputProblem(field=f"provider.{name}.zone", message=message)


def _sentence(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind, given = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return f"unknown key; {meant(str(detail['loc'][-1]), _known_keys(model, detail['loc'][:-1]))}"
    if kind == "missing":
        return "is required and not there"
    if kind in _TABLE_ERRORS:
        return f"must be a table of settings, not {given!r:.60}"
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    return f"{without_type(detail['msg'].replace('Input should be', 'must be'))}, not {given!r:.60}"


def _known_keys(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    is_name = False  # of a table among several, which is no key of a model
    for part in path:
        if isinstance(part, int) or is_name:  # a row of a list
            is_name = False
            continue
        field = model.model_fields.get(str(part))
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_model(kind)] if field else []
        if not inner:
            return []
        model, is_name = inner[0], field is not None and get_origin(field.annotation) is dict
    return [field.alias or name for name, field in model.model_fields.items()]


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _names(value: object) -> tuple[str, ...]:
    try:
        return parse_names(value or ())
    except ValueError:
        return ()


def _listed(providers: Mapping[str, Any]) -> str:
    return f"there are {', '.join(map(repr, providers))}" if providers else "no provider is set up"
