"""Keys, passwords and tokens stay secret, whatever a source does with them: in errors, payloads, causes and the log."""

import json
import logging
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from greenrun.core.errors import ProviderError
from greenrun.providers import Provider, at_source, open_provider, web
from greenrun.providers.electricity_maps import ElectricityMapsSettings
from greenrun.providers.watttime import WattTimeSettings
from tests.providers.source import NOW, Respond, answering, json_answer

KEY = "KEYhead/+\"mid'dle\\=KEYtail"
PASSWORD = "PWDhead:/+\"mid'dle\\=PWDtail"
TOKEN = "TOKhead." + "x" * 40 + ".TOKtail"
BASIC = b64encode(f"ada:{PASSWORD}".encode()).decode()
PIECES = ["KEYhead", "KEYtail", "PWDhead", "PWDtail", "TOKhead", "TOKtail", BASIC[:16], BASIC[-16:]]


def opened(kind: str, folder: Path) -> Provider:
    """A source with something to keep to itself, asked anew each time."""
    for name, secret in (("key", KEY), ("password", PASSWORD)):
        (folder / name).write_text(secret, encoding="utf-8")
        (folder / name).chmod(0o600)
    if kind == "watttime":
        settings = WattTimeSettings(username="ada", password_file=folder / "password")
        return at_source(open_provider(kind, settings, lambda key: NOW))
    return at_source(open_provider(kind, ElectricityMapsSettings(key_file=folder / "key"), lambda key: NOW))


def well(request: httpx.Request) -> httpx.Response | None:
    """Answer what is asked besides data."""
    if request.url.path.endswith("/zones"):
        return json_answer('{"DE": {"access": ["*"]}}')
    return json_answer(json.dumps({"token": TOKEN})) if request.url.path == "/login" else None


def told(error: BaseException) -> str:
    """All that can be read of an error and of those that it names as its causes."""
    parts, chain = ["".join(traceback.format_exception(error))], [error]
    for exc in chain:
        parts += [getattr(exc, "payload", ""), repr(exc.args), repr(vars(exc))]
        cause = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
        chain += [cause] if cause and cause not in chain else []
    return "\n".join(parts)


def bodies(secret: str) -> Iterator[str]:
    """Bodies that repeat a secret where one might be repeated."""
    yield f"bad key {secret} at https://x.example/?k={quote(secret)}&l={quote(secret, safe='')}"
    yield json.dumps({"error": secret, "headers": {"auth-token": secret, "Authorization": f"Bearer {secret}"}})
    yield json.dumps({secret: {"access": secret}, "token": [secret], "data": secret, "zone": secret, "meta": secret})
    yield json.dumps({"zone": "DE", "forecast": [{"datetime": secret, "carbonIntensity": secret}]})
    yield json.dumps({"zone": secret, "temporalGranularity": secret, "forecast": []})
    yield json.dumps({"zone": secret, "forecast": [{"datetime": "2026-06-03T10:00Z", "carbonIntensity": 100}]})
    yield json.dumps({"data": [{"point_time": secret, "value": secret}], "meta": {}})
    for meta in (_meta(units=secret), _meta(region=secret), _meta(signal_type=secret), _meta(generated_at=secret)):
        yield json.dumps({"data": [], "meta": meta})
    yield json.dumps({"_disclaimer": f"SANDBOX MODE {secret}", "token": f"{secret}\n"})
    yield secret * 300
    yield "x" * (web.KEPT - len(secret) // 2) + secret  # cut in two where what is kept ends
    yield "x" * (web.SHOWN - len(secret) // 2) + secret


def _meta(**other: str) -> dict[str, object]:
    said = {"units": "lbs_co2_per_mwh", "region": "DE", "signal_type": "co2_moer", "data_point_period_seconds": 300}
    return {**said, **other}


def respond(answer: Callable[[httpx.Request], httpx.Response], to_all: bool) -> Respond:
    """Misbehave towards every question, or towards those for data alone."""
    return answer if to_all else lambda request: well(request) or answer(request)


def misbehaviours(secret: str) -> Iterator[Callable[[httpx.Request], httpx.Response]]:
    """Everything that a source, or what lies on the way to it, can do with a secret."""
    for body in bodies(secret):
        for status in (200, 401, 500):
            yield lambda request, body=body, status=status: json_answer(body, status)
    yield lambda request: json_answer(secret + " " * web.SIZE_CAP_BYTES * 2)
    for place in (f"https://elsewhere.example/{quote(secret)}", f"/{quote(secret)}", f"https://{quote(secret)}:x/"):
        yield lambda request, place=place: httpx.Response(302, headers={"Location": place})
    for error in (httpx.ConnectError, httpx.ReadTimeout, httpx.LocalProtocolError):

        def fail(request: httpx.Request, error: type[httpx.TransportError] = error) -> httpx.Response:
            try:
                raise OSError(f"Illegal header value {secret!r} {secret.encode()!r}")
            except OSError as exc:
                raise error(f"Illegal header value {secret!r}", request=request) from exc

        yield fail


@pytest.mark.parametrize("to_all", [False, True], ids=["data", "everything"])
@pytest.mark.parametrize(
    ("kind", "secret"),
    [("electricity_maps", KEY), ("watttime", PASSWORD), ("watttime", BASIC), ("watttime", TOKEN)],
    ids=["key", "password", "basic", "token"],
)
def test_no_secret_is_told(
    kind: str, secret: str, to_all: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither whole nor in part, whatever comes back to log-in, zones, forecast or history."""
    caplog.set_level(logging.WARNING)  # the daemon's log shows of libraries what they warn of
    provider, errors = opened(kind, tmp_path), 0
    asks = [lambda: provider.forecast("DE", NOW), lambda: provider.history("DE", NOW - timedelta(1), NOW, NOW)]
    for answer, ask in product(misbehaviours(secret), asks):
        with answering(respond(answer, to_all)):
            try:
                ask()
            except ProviderError as exc:
                said, errors = told(exc) + caplog.text, errors + 1
                assert [piece for piece in PIECES if piece in said] == []
    assert errors > 80
