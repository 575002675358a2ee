"""Load greenrun.toml and GREENRUN_SECTION__KEY variables into a Config, or report all problems at once."""

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from greenrun.config.accounting import accounting_problems
from greenrun.config.budgets import budget_problems
from greenrun.config.electricity import electricity_problems
from greenrun.config.limits import limit_problems
from greenrun.config.models import Config, Origin, flatten
from greenrun.config.problems import meant, reference_problems, table, value_problems
from greenrun.config.server_mode import with_places
from greenrun.config.site_power_cap import site_power_problems
from greenrun.core.errors import ConfigError, InputProblem
from greenrun.paths import find_config, rooted
from greenrun.providers import find_kind, kind_names
from greenrun.providers.plugins import FAILURES, error_text
from greenrun.providers.provider import OWN, ProviderKind
from greenrun.providers.settings import ProviderSettings

PREFIX = "GREENRUN_"
SIZE_CAP_BYTES = 1024 * 1024

_FILE_PATHS = ("paths.state", "paths.locks", "api.socket", "electricity.file", "accounting.market_file")

_Tables = dict[str, Any]


def load_config(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the settings of `path` (None: where paths.find_config finds them) with the environment over them.

    Without any file the defaults hold. Raise ConfigError with every problem; its message lists them by key path.
    """
    file = find_config(path, environ)
    problems: list[InputProblem] = []
    written = _rooted(_read(file), file.parent) if file else {}
    stated = _environment(environ, problems)
    tables = _merge(written, stated)
    problems += reference_problems(tables)
    problems += limit_problems(table(tables, "limits"), table(tables, "server"))
    problems += electricity_problems(table(tables, "electricity"))
    problems += site_power_problems(table(tables, "site_power"))
    problems += budget_problems(tables)
    problems += accounting_problems(table(tables, "accounting"))
    if "provider" in tables and isinstance(tables["provider"], dict):
        tables["provider"] = _providers(tables["provider"], problems)
    config = _validated(tables, problems)
    if config is None or problems:
        raise _error(file, problems)
    config._read_from = file
    config._origins = _origins(written, "file") | _origins(stated, "environment")
    return config


def _read(file: Path) -> _Tables:
    try:
        if not file.is_file():
            raise _error(file, [InputProblem(field="", message="there is no such file; write it or name another one")])
        raw = file.read_bytes()[: SIZE_CAP_BYTES + 1]
    except OSError as exc:
        raise _error(file, [InputProblem(field="", message=f"the file cannot be read ({exc.strerror})")]) from exc
    if len(raw) > SIZE_CAP_BYTES:
        raise _error(file, [InputProblem(field="", message="the file is larger than 1 MiB, so it cannot be settings")])
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise _error(file, [InputProblem(field="", message=f"line {line} is not UTF-8 text")]) from exc
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise _error(file, [InputProblem(field="", message=f"it is not TOML: {exc}")]) from exc


def _environment(environ: Mapping[str, str], problems: list[InputProblem]) -> _Tables:
    """The tables that GREENRUN_SECTION__KEY variables state; others (GREENRUN_CONFIG, a job's own) are left alone."""
    named = {name: value for name, value in environ.items() if name.startswith(PREFIX) and "__" in name}
    for name in named:
        section = name.removeprefix(PREFIX).split("__")[0].lower()
        if section not in Config.model_fields:
            problems.append(
                InputProblem(field=name, message=f"unknown section; {meant(section, list(Config.model_fields))}")
            )
    source = EnvSettingsSource(Config)
    source.env_vars = {name.lower(): value for name, value in named.items()}
    try:
        return source()
    except SettingsError as exc:
        problems.append(InputProblem(field="environment", message=f"{exc}; a table is written as JSON"))
        return {}


def _providers(raw: _Tables, problems: list[InputProblem]) -> dict[str, ProviderSettings]:
    """The providers by name; each is validated by the model of its kind."""
    valid = {}
    for name in raw:
        settings, field = dict(table(raw, name)), f"provider.{name}"
        kind = settings.get("kind")
        try:
            found = _kind_of(kind)
        except ConfigError as exc:
            problems.append(InputProblem(field=f"{field}.kind", message=str(exc)))
            continue
        try:
            valid[name] = _validated_by(found, settings)
        except ValidationError as exc:
            problems += value_problems(exc, found.settings, field)
        except ConfigError as exc:
            problems.append(InputProblem(field=field, message=str(exc)))
    return valid


def _kind_of(kind: object) -> ProviderKind:
    if kind is None:
        raise ConfigError(f"is required; known are {', '.join(kind_names())}")
    return find_kind(kind if isinstance(kind, str) else repr(kind))


def _validated_by(kind: ProviderKind, settings: _Tables) -> ProviderSettings:
    """Return the settings by the model of their kind; raise ValidationError, or ConfigError where a plug-in's fails."""
    if kind.package == OWN:
        return kind.settings.model_validate(settings)
    try:
        valid = kind.settings.model_validate(settings)
        json.dumps(valid.model_dump(mode="json"))  # as `greenrun config` and the hash of the settings will
    except ValidationError:
        raise
    except FAILURES as exc:
        failed = f"the settings of {kind.package} cannot be read ({error_text(exc)})"
        raise ConfigError(f"{failed}; update that package, or remove this provider") from exc
    return valid


def _validated(tables: _Tables, problems: list[InputProblem]) -> Config | None:
    try:
        return Config(**with_places(tables))
    except ValidationError as exc:
        problems += value_problems(exc, Config)
        return None


def _rooted(tables: _Tables, folder: Path) -> _Tables:
    """The same tables with paths that are relative in the file made absolute from its folder."""
    for key in _FILE_PATHS:
        section, name = key.split(".")
        _change_text(table(tables, section), name, lambda text: str(rooted(text, folder)))
    for section, name in (("reports", "folder"), ("api", "tls_certificate"), ("api", "tls_key")):
        _change_text(table(tables, section), name, lambda text: text and str(rooted(text, folder)))  # "" is none
    for meter in table(table(tables, "devices"), "external").values():
        _change_text(meter, "header_file", lambda text: str(rooted(text, folder)))
    for hook in table(tables, "notify").values():
        for name in ("url_file", "secret_file", "sendmail"):
            _change_text(hook, name, lambda text: str(rooted(text, folder)))
    for provider in table(tables, "provider").values():
        for name in provider if isinstance(provider, dict) else ():
            if name == "path" or name.endswith(("_path", "_file")):
                _change_text(provider, name, lambda text: str(rooted(text, folder)))
    return tables


def _change_text(section: object, key: str, change: Callable[[str], str]) -> None:
    if isinstance(section, dict) and isinstance(section.get(key), str):
        section[key] = change(section[key])


def _merge(under: _Tables, over: _Tables) -> _Tables:
    merged = dict(under)
    for key, value in over.items():
        known = merged.get(key)
        merged[key] = _merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def _origins(tables: _Tables, origin: Origin) -> dict[str, Origin]:
    return dict.fromkeys(flatten(tables), origin)


def _error(file: Path | None, problems: list[InputProblem]) -> ConfigError:
    where = f"the settings in {file}" if file else "the settings in the environment"
    listed = "\n".join(f"  {problem}" for problem in problems)
    return ConfigError(f"greenrun cannot use {where}, so it does nothing; correct this:\n{listed}", problems)
