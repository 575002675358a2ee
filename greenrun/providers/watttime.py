"""WattTime (needs an account): marginal intensity in five-minute steps, for most of the world."""

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from greenrun.core.carbon.intensity import Basis, Forecast, Kind, Series, SeriesId, Signal
from greenrun.core.errors import ProviderRefused
from greenrun.providers.payload import Instant, Number, Point, forecast_of, history_of
from greenrun.providers.provider import Anchor, ProviderKind, refuse_other
from greenrun.providers.settings import ExpandedPath, PositiveDuration, Url, WebSettings, read_key
from greenrun.providers.web import SHOWN, Web, WebAnswer

ATTRIBUTION = "Source: WattTime (watttime.org), all rights reserved"
LONGEST = timedelta(hours=72)
HOUR = timedelta(hours=1)
TOKEN_STATUSES = (401, 403)
TOKEN_FOR = timedelta(minutes=25)  # it is valid for thirty
PACE = timedelta(seconds=3)  # at most a hundred logins in five minutes, and thirty times as many requests

# The source's units in g/kWh: a pound is 453.59237 g by definition. Other units (health damage is in money) are
# refused.
G_PER_KWH = {"lbs_co2_per_mwh": 453.59237 / 1000}


def _within_reach(horizon: timedelta) -> timedelta:
    if horizon > LONGEST:
        raise ValueError("must be 72h or less")
    return horizon


class WattTimeSettings(WebSettings):
    """[provider.NAME] with kind "watttime"; the password is the only content of the file `password_file`."""

    kind: Literal["watttime"] = "watttime"
    url: Url = "https://api.watttime.org"
    username: Annotated[str, Field(min_length=1, pattern=r"^[^:]+$")]
    password_file: ExpandedPath
    signal_type: Literal["co2_moer"] = "co2_moer"
    horizon: Annotated[PositiveDuration, AfterValidator(_within_reach)] = timedelta(hours=48)


class LogIn(BaseModel):
    """The response to a login."""

    token: Annotated[str, Field(pattern=r"^[\x21-\x7e]+$", max_length=8192)]


class SignalPoint(BaseModel):
    """The slot that begins at `point_time`; only history marks imputed values."""

    point_time: Instant
    value: Number
    imputed_data_used: bool | None = None


class Warned(BaseModel):
    """What the source says to watch out for, such as values that stand in for others."""

    type: str = ""
    message: str = ""

    @property
    def text(self) -> str:
        """All that is told."""
        return ": ".join(filter(None, (self.type, self.message))) or "for no stated reason"


class Meta(BaseModel):
    """The metadata of a response: unit, region and signal of its values, and what to watch out for."""

    units: str
    region: str
    signal_type: str
    data_point_period_seconds: Annotated[int, Field(ge=60, le=3600)]
    generated_at: Instant | None = None
    warnings: list[Warned | str] | None = None


class SignalAnswer(BaseModel):
    """A forecast, or history."""

    data: list[SignalPoint]
    meta: Meta

    @property
    def step(self) -> timedelta:
        """The length of a slot."""
        return timedelta(seconds=self.meta.data_point_period_seconds)

    def points(self, kind: Kind) -> list[Point]:
        """Return the points that were not imputed, in g/kWh; the unit must be known."""
        factor = G_PER_KWH[self.meta.units]
        rows = [row for row in self.data if not row.imputed_data_used]
        return [Point(row.point_time, None if row.value is None else row.value * factor, kind) for row in rows]


class WattTime:
    """Marginal intensity, in g CO2/kWh: another signal than the average, which ranks hours differently."""

    zones: Mapping[str, str] = {}
    refresh_every = timedelta(minutes=15)

    def __init__(self, name: str, settings: WattTimeSettings, anchor: Anchor, settle_after: timedelta) -> None:
        self.name, self.label, self.settle_after = name, settings.label, settle_after
        self.attribution = settings.attribution or ATTRIBUTION
        self._settings = settings
        self._auth = settings.username, read_key(settings.password_file)
        basic = b64encode(":".join(self._auth).encode()).decode()
        self.web = Web(name, settings, every=PACE, secrets=[self._auth[1], basic])
        self._token: tuple[str, datetime] | None = None

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the forecast from the slot that contains `now` on, as issued; raise ProviderError."""
        hours = {"horizon_hours": str(ceil(self._settings.horizon / HOUR))}
        said = self._ask("/v3/forecast", zone, hours, now)
        points, dropped = said.points(Kind.FORECAST), self.web.dropped
        issued_at, step = said.meta.generated_at, said.step
        return forecast_of(self._id(zone), points, now, dropped=dropped, issued_at=issued_at, step=step)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the measured slots in `[start, end)`, a month at most; raise ProviderError.

        Imputed values are left out.
        """
        between = {"start": _written(start - HOUR), "end": _written(min(end, now)), "include_imputed_marker": "true"}
        said = self._ask("/v3/historical", zone, between, now)
        points, dropped = said.points(Kind.MEASURED), self.web.dropped
        return history_of(self._id(zone), points, start, end, now, dropped=dropped, step=said.step)

    def _ask(self, path: str, zone: str, params: Mapping[str, str], now: datetime) -> SignalAnswer:
        refuse_other(self.name, self._settings.zone, zone)
        asked = {"region": zone, "signal_type": self._settings.signal_type, **params}
        try:
            said = self._get(path, asked, now).read(SignalAnswer)
        except ProviderRefused as exc:
            raise ProviderRefused(f"{exc} (asked for {zone})", status=exc.status) from exc
        if said.meta.units not in G_PER_KWH or said.meta.signal_type != asked["signal_type"]:
            what = self.web.redacted(f"{said.meta.signal_type} in {said.meta.units}")[:SHOWN]
            raise ProviderRefused(f"{self.name} answers with {what}, which is no intensity; greenrun does not use it")
        if said.meta.region != zone:
            raise ProviderRefused(f"{self.name} answers for another region than {zone}; greenrun does not use it")
        for warned in said.meta.warnings or ():
            self.web.warn(warned if isinstance(warned, str) else warned.text)
        return said

    def _get(self, path: str, params: Mapping[str, str], now: datetime) -> WebAnswer:
        """Request with the current token; if that is refused, with a new one."""
        bearer = self._bearer(now)
        try:
            return self.web.get(path, params, bearer)
        except ProviderRefused as exc:
            if exc.status not in TOKEN_STATUSES:
                raise
        self._token = None
        return self.web.get(path, params, self._bearer(now))

    def _bearer(self, now: datetime) -> dict[str, str]:
        held = self._token  # another thread may reset it
        if held is None or not held[1] <= now < held[1] + TOKEN_FOR:
            held = self._token = self._logged_in(), now
        return {"Authorization": f"Bearer {held[0]}"}

    def _logged_in(self) -> str:
        """Log in and return a new token, which is redacted in errors."""
        try:
            token = self.web.get("/login", auth=self._auth, private=True).read(LogIn).token
        except ProviderRefused as exc:
            if exc.status not in TOKEN_STATUSES:
                raise
            text = f"{self.name} refuses the log-in; check username and password_file of [provider.{self.name}]"
            raise ProviderRefused(text, status=exc.status) from exc
        self.web.hide(token)
        return token

    def _id(self, zone: str) -> SeriesId:
        return SeriesId(provider=self.name, zone=zone, signal=Signal.MARGINAL, basis=Basis.DIRECT)


PROVIDER = ProviderKind(settings=WattTimeSettings, open=WattTime)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
