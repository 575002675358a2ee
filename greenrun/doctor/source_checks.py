"""The configured sources of carbon intensity: ask each once, in little time."""

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from time import monotonic

from greenrun.config import Config
from greenrun.core.errors import ConfigError, ProviderError
from greenrun.core.formatting import duration_text, instant_text
from greenrun.doctor.finding import Area, Finding, failed, ok, warning
from greenrun.grid.sources import Checked, check
from greenrun.providers import open_provider

_SILENCE = ("cannot be reached", "did not answer", "has trouble")  # what no change of the settings mends
LIMIT = timedelta(seconds=15)  # for all of them together


def check_configured(settings: Config, name: str, zone: str | None, now: datetime) -> Checked:
    """Open a source as the daemon would, and ask it; a replay begins now, as it would for a new daemon."""
    stated = settings.provider[name]
    asked = zone or stated.zone or settings.grid.zone
    if asked is None:
        return Checked(name=name, zone=None, forecast_problem="no zone is set; name one with --zone")
    try:
        opened = open_provider(name, stated, lambda key: now, settings.grid.settle_after)
    except (ProviderError, ConfigError) as exc:
        return Checked(name=name, zone=asked, forecast_problem=str(exc))
    try:
        return check(opened, asked, now)
    finally:
        if opened.web is not None:
            opened.web.close()


def ask_each(settings: Config, now: datetime, limit: timedelta = LIMIT) -> list[Checked]:
    """Ask every source that [grid] uses once, at the same time; what takes longer than `limit` is left."""
    grid = settings.grid
    names = dict.fromkeys((*grid.provider, *grid.history_names, *([grid.marginal] if grid.marginal else [])))
    answers: dict[str, Checked] = {}

    def ask(name: str) -> None:
        answers[name] = check_configured(settings, name, None, now)

    asking = [threading.Thread(target=ask, args=[name], name=f"ask-{name}", daemon=True) for name in names]
    for each in asking:
        each.start()
    ends_s = monotonic() + limit.total_seconds()
    for each in asking:
        each.join(max(0.0, ends_s - monotonic()))
    late = f"it did not answer within {duration_text(limit.total_seconds())}"
    return [answers.get(name) or Checked(name=name, zone=grid.zone, forecast_problem=late) for name in names]


def check_sources(settings: Config, now: datetime, limit: timedelta = LIMIT) -> Iterator[Finding]:
    """Ask each source once and say what came."""
    grid = settings.grid
    if grid.zone is None:
        yield warning(
            Area.SOURCES, "no zone is set: energy is recorded, emissions are unknown, and jobs start at once",
            "greenrun zones --search COUNTRY, then set grid.zone and grid.provider, or greenrun init --force",
        )  # fmt: skip
        return
    yield from judge(settings, ask_each(settings, now, limit))


def judge(settings: Config, answers: Sequence[Checked]) -> Iterator[Finding]:
    """Say how each source is, by what it answered."""
    grid = settings.grid
    forecasts = [answer.name for answer in answers if answer.name in grid.provider and answer.forecast is not None]
    for answer in answers:
        url = str(getattr(settings.provider[answer.name], "url", None) or "")
        yield _told(answer, grid.provider, grid.history_names, forecasts, url)


def _told(
    answer: Checked, forecasts: Sequence[str], histories: Sequence[str], answering: Sequence[str], url: str
) -> Finding:
    """Say how a source is: one that does not do what it is for is a failure, unless another one does it."""
    wants = [(answer.forecast, answer.forecast_problem, "forecast")] if answer.name in forecasts else []
    is_down = bool(wants) and answer.name not in answering  # then to say so once is enough
    if not wants or (answer.name in histories and not is_down):  # one that is for neither prices marginally
        wants.append((answer.history, answer.history_problem or answer.forecast_problem, "measured values"))
    missing = [f"no {what}: {why}" for found, why, what in wants if found is None]
    what = f"{answer.name} for {answer.zone}"
    if not missing and answer.doubts:
        text = f"{what} answers, but {'; '.join(answer.doubts)}"
        return warning(Area.SOURCES, text, f"greenrun providers check; then correct provider.{answer.name}")
    if not missing:
        reach = f", reaches to {instant_text(answer.forecast.end)}" if answer.forecast else ""
        return ok(Area.SOURCES, f"{what} answers{reach}{f' ({answer.label})' if answer.label else ''}")
    text = f"{what} gives {'; '.join(missing)}"
    is_silent = url and any(sign in text for sign in _SILENCE)
    mend = (
        f"see whether this machine reaches it: curl -sSI {url.partition('?')[0]}"
        if is_silent
        else f"correct provider.{answer.name}"
    )
    remedy = f"{mend}; `greenrun providers check` asks again"
    if answer.name in forecasts and not answering:
        return failed(Area.SOURCES, f"{text}. Without a forecast jobs start at once", remedy)
    return warning(Area.SOURCES, text, remedy)
