"""The carbon intensity over a measurement's window, from the daemon or else from the configured sources."""

import threading
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from greenrun.core.energy.model import Slice
from greenrun.core.errors import ConfigError, ProviderError
from greenrun.measuring.choosing import Choice
from greenrun.paths import find_socket

if TYPE_CHECKING:
    from greenrun.core.carbon.intensity import Series, SeriesId
    from greenrun.core.energy.window_price import WindowEmissions
    from greenrun.providers import Provider

DAEMON_LIMIT_S = 3.0
NO_ZONE = "no zone is set, and greenrun does not guess where it is: set [grid] zone"


class WindowIntensity:
    """Queries the intensity of one window, which begins at `start`, and keeps all answers. Safe for threads."""

    def __init__(self, choice: Choice, start: datetime) -> None:
        self.zone = choice.zone
        self._choice = choice
        self._start = start
        self._known: dict[SeriesId, Series] = {}  # the latest answer comes last
        self._problems: tuple[str, ...] = ()
        self._opened: dict[str, Provider] | None = None
        self._turn = threading.Lock()

    def ask(self) -> None:
        """Ask the daemon, and the sources themselves when it has no answer. May take as long as they do."""
        problems: list[str] = []
        if not self.ask_daemon(problems):
            self._ask_sources(problems)
        self._problems = tuple(problems)

    def ask_daemon(self, problems: list[str] | None = None) -> bool:
        """Ask the daemon alone, which answers within DAEMON_LIMIT_S or not at all; return whether it did."""
        from greenrun.client import ApiClient, ClientError

        client = ApiClient(find_socket(self._choice.socket, self._choice.file), timeout_s=DAEMON_LIMIT_S)
        try:
            answer = client.forecast(self.zone)
        except ClientError as exc:
            _note(problems, str(exc))
            return False
        if not answer.get("slots"):
            _note(problems, f"the daemon has no forecast for {answer['zone']}" if answer.get("zone") else NO_ZONE)
            return False
        try:
            series = _series(answer)
        except (KeyError, TypeError, ValueError) as exc:  # a daemon of another version
            _note(problems, f"the daemon's forecast cannot be used ({exc})")
            return False
        self.zone = self.zone or series.id.zone
        self._learn(series)
        return True

    def price(self, pieces: Sequence[Slice], end: datetime, pue: float) -> "tuple[WindowEmissions | None, str | None]":
        """Price what was used up to `end` with what is known; None for a reason."""
        with self._turn:
            latest_first = list(reversed(self._known.values()))
        if not latest_first:
            return None, self._why(is_told=False)
        from greenrun.core.energy.window_price import price_window

        found = (price_window(pieces, series, self._start, end, pue) for series in latest_first)
        best = next((one for one in found if one is not None), None)
        return best, None if best else self._why(is_told=True)

    def covers(self, end: datetime) -> bool:
        """Whether a series is known for all of the time up to `end`."""
        with self._turn:
            return any(series.mean(self._start, end) is not None for series in self._known.values())

    def close(self) -> None:
        """Close the sources that were opened."""
        for provider in (self._opened or {}).values():
            if provider.web is not None:
                provider.web.close()

    def _why(self, *, is_told: bool) -> str:
        if self.zone is None:
            return NO_ZONE
        if is_told:
            return f"what is known of {self.zone} does not cover the whole time"
        return "; ".join(self._problems) or f"no source answered for {self.zone} in time"

    def _learn(self, series: "Series") -> None:
        with self._turn:
            known = self._known.pop(series.id, None)
            self._known[series.id] = known.followed_by(series) if known else series

    def _ask_sources(self, problems: list[str]) -> None:
        """Ask the sources of the settings in turn, as from the window's start on, until one answers."""
        config = self._choice.config
        if config is None or config.grid.zone is None:
            return
        if not config.grid.provider:
            problems.append("no provider is set up")
        for name in config.grid.provider:
            try:
                self._learn(self._source(name).forecast(config.grid.zone, self._start).series)
            except (ProviderError, ConfigError) as exc:
                problems.append(str(exc))
            else:
                return

    def _source(self, name: str) -> "Provider":
        """Open a source, once; a replay begins with the window."""
        from greenrun.providers import open_provider

        config = self._choice.config
        if config is None:
            raise ConfigError("there are no settings that name sources")
        self._opened = self._opened or {}
        if name not in self._opened:
            self._opened[name] = open_provider(
                name, config.provider[name], lambda key: self._start, config.grid.settle_after
            )
        return self._opened[name]


def _note(problems: list[str] | None, problem: str) -> None:
    if problems is not None:
        problems.append(problem)


def _series(answer: "dict[str, Any]") -> "Series":
    """Return a forecast of the API as a series."""
    from greenrun.core.carbon.intensity import Kind, Series, SeriesId, Signal, Slot

    slots: Iterable[Slot] = (
        Slot(
            datetime.fromisoformat(row["start"]),
            datetime.fromisoformat(row["end"]),
            row["g_per_kwh"],
            Kind(row["kind"]),
        )
        for row in answer["slots"]
        if row["g_per_kwh"] is not None
    )
    signal = Signal(answer.get("signal") or Signal.AVERAGE)
    return Series.of(SeriesId(provider=answer["provider"], zone=answer["zone"], signal=signal), slots)
