"""The settings models that providers share, and the value types that other sections use too."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from stat import S_ISREG
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from greenrun.core.carbon.intensity import Accounting, Basis, Signal
from greenrun.core.errors import ProviderRefused
from greenrun.core.formatting import exact_duration_text, iso_text
from greenrun.core.parsing import parse_duration, parse_instant
from greenrun.paths import expand

LONGEST_KEY = 4096
SHORTEST_KEY = 8
KEY_FILE = "_file"  # suffix of settings that name a file with a secret


def _longer_than_zero(duration: timedelta) -> timedelta:
    if not duration:
        raise ValueError("must be longer than zero")
    return duration


def keys_in(url: str) -> list[str]:
    """Return the query values of a URL that may be keys: shorter ones, such as a country, are no secrets."""
    return [value for _, value in parse_qsl(urlsplit(url).query) if len(value) >= SHORTEST_KEY]


def _without_keys(url: str) -> str:
    """Return a URL that can be shown: without its query if that may contain a key."""
    return f"{url.partition('?')[0]}?***" if keys_in(url) else url


def _written(form: Callable[..., str]) -> PlainSerializer:
    return PlainSerializer(form, return_type=str)


def _expanded(value: object) -> Path:
    path = expand(str(value))
    if "$" in str(path):
        raise ValueError(f"{str(value)!r} names a variable that is not set; set it or write the path out")
    return path.absolute()


def _address(url: str) -> str:
    """Return a checked base URL: keys need encryption, and forecasts need integrity."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")):
        if parts.username or parts.query or parts.fragment or not parts.hostname:
            raise ValueError("write the address alone, without a user, a query or a fragment")
        return url.rstrip("/")
    raise ValueError(f"{url!r} must begin with https:// (http:// is for this machine alone)")


def _question(url: str) -> str:
    """Return a checked URL with its query, unchanged: a trailing slash matters."""
    address, _, asked = url.partition("?")
    _address(address)
    if "#" in asked:
        raise ValueError("write the address without a fragment")
    return url


Duration = Annotated[timedelta, BeforeValidator(parse_duration), _written(exact_duration_text)]
PositiveDuration = Annotated[Duration, BeforeValidator(lambda value: _longer_than_zero(parse_duration(value)))]
Instant = Annotated[datetime, BeforeValidator(parse_instant), _written(iso_text)]
Url = Annotated[str, AfterValidator(_address)]
UrlWithQuery = Annotated[str, AfterValidator(_question), _written(_without_keys)]
ExpandedPath = Annotated[Path, BeforeValidator(_expanded), _written(str)]


class Section(BaseModel):
    """A table of the settings file: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, coerce_numbers_to_str=True)


class ProviderSettings(Section):
    """The settings of every kind of provider. `zone` is the only one it serves, `label` is shown with its values."""

    kind: str
    zone: Annotated[str, Field(min_length=1)] | None = None
    label: str = ""
    attribution: str = ""


class WebSettings(ProviderSettings):
    """A source queried over HTTP at `url`; `timeout` is for one attempt, of which there may be three."""

    url: Url
    timeout: PositiveDuration = timedelta(seconds=20)


class KeySettings(WebSettings):
    """A source that needs a key, the only content of the file `key_file`."""

    key_file: ExpandedPath


class ReplaySettings(Section):
    """A trace on the wall clock: its instant `at` is now, it runs `speed` times as fast and shows `horizon` ahead."""

    at: Instant
    speed: Annotated[float, Field(ge=0.1, le=1_000_000, allow_inf_nan=False)] = 1.0
    horizon: PositiveDuration = timedelta(hours=48)


class FileSettings(ProviderSettings):
    """A CSV file: `start,g_per_kwh`, or `issued_at,start,g_per_kwh` for forecasts as they were issued."""

    kind: Literal["file"] = "file"
    path: ExpandedPath
    replay: ReplaySettings | None = None
    holes: Literal["refuse", "keep"] = "refuse"
    signal: Signal = Signal.AVERAGE
    accounting: Accounting | None = None
    basis: Basis | None = None


def read_key(path: Path) -> str:
    """Return the key in a file; raise ProviderRefused if it cannot be read or is world-readable."""
    try:
        mode = path.stat().st_mode
        if not S_ISREG(mode):
            raise ProviderRefused(f"the key file {path} is not a file; write the key into one")
        with path.open(encoding="utf-8-sig") as file:
            key = file.read(2 * LONGEST_KEY).strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ProviderRefused(f"the key file {path} cannot be read ({exc}); write the key into it") from exc
    if mode & 0o004:
        raise ProviderRefused(f"everybody on this machine may read the key file {path}; chmod 600 it")
    if not key or not key.isascii() or not key.isprintable() or len(key) > LONGEST_KEY:
        raise ProviderRefused(f"the key file {path} holds no key: it should be one line of plain text")
    return key
