"""[devices.external.NAME]: a counter outside of this host's drivers, as of a smart PDU, IPMI or Redfish."""

import re
from datetime import timedelta
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from greenrun.meters.external.answer import UNITS_J
from greenrun.meters.settings import ExternalSettings
from greenrun.providers.settings import ExpandedPath, PositiveDuration, Section

LOCAL = ("127.0.0.1", "::1", "localhost")
SHORTEST, LONGEST = timedelta(seconds=1), timedelta(minutes=1)
LONGEST_BOOKED = timedelta(seconds=5)  # what comes ten seconds after the reading before is a bridge
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("is named by small letters, digits, - and _, 32 at most")
    return text


def _address(url: str) -> str:
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError as exc:
        raise ValueError(f"is no address: {exc}") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not re.fullmatch(r"[!-~]+", url):
        raise ValueError("must be an address that begins with http:// or https://")
    if parts.username or parts.password or parts.fragment:
        raise ValueError("write the address without a user, a password or a fragment; header_file holds what is secret")
    return url


class ExternalMeterSettings(Section):
    """[devices.external.NAME]; `value` says where in the JSON of the answer its number is."""

    kind: Literal["command", "http"]
    command: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    url: Annotated[str, AfterValidator(_address)] | None = None
    header_file: ExpandedPath | None = None
    value: Annotated[str, Field(min_length=1)] | None = None
    unit: Literal["J", "mJ", "uJ", "Wh", "kWh"]
    component: Literal["external", "cpu", "dram"] = "external"
    wraps_at: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    watts_max: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] = 20_000.0
    every: PositiveDuration = timedelta(seconds=10)
    timeout: PositiveDuration = timedelta(seconds=5)

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        wanted, other = ("command", "url") if self.kind == "command" else ("url", "command")
        if not getattr(self, wanted) or getattr(self, other):
            raise ValueError(f"kind '{self.kind}' needs {wanted}, and no {other}")
        if self.header_file and self.kind == "command":
            raise ValueError("header_file is for kind 'http'")
        return self

    @model_validator(mode="after")
    def _keeps_secrets(self) -> Self:
        parts = urlsplit(self.url or "")
        if self.header_file and parts.scheme == "http" and parts.hostname not in LOCAL:
            raise ValueError("what header_file holds must not travel in the clear: url must begin with https://")
        return self

    @model_validator(mode="after")
    def _is_asked_in_time(self) -> Self:
        if not SHORTEST <= self.every <= LONGEST or self.timeout > LONGEST:
            raise ValueError("every must be from 1s to 1m, and timeout at most 1m")
        if self.component != "external" and self.every > LONGEST_BOOKED:
            raise ValueError(f"component '{self.component}' is booked, which takes a reading every 5s: shorten every")
        wrap_s = None if self.wraps_at is None else self.wraps_at * UNITS_J[self.unit] / self.watts_max
        if wrap_s is not None and wrap_s < 2 * (self.every + self.timeout).total_seconds():
            raise ValueError(
                f"at watts_max the counter wraps every {wrap_s:.3g} s, so it must be asked twice as often: "
                "shorten every and timeout, or lower watts_max"
            )
        return self


ExternalMeters = Annotated[dict[Annotated[str, AfterValidator(_name)], ExternalMeterSettings], Field(max_length=8)]


def external_settings(meters: ExternalMeters) -> tuple[ExternalSettings, ...]:
    """Return what the meters are told."""
    return tuple(
        ExternalSettings(
            name=name,
            unit=each.unit,
            component=each.component,
            command=each.command,
            url=each.url or "",
            value=each.value,
            wraps_at=each.wraps_at,
            watts_max=each.watts_max,
            every_s=each.every.total_seconds(),
            timeout_s=each.timeout.total_seconds(),
            header_file=each.header_file,
            index=index,
        )
        for index, (name, each) in enumerate(meters.items())
    )
