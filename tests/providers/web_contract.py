"""What every provider that asks over HTTP promises besides: whatever comes back, a right series or a right error."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Basis, Kind, Series, Signal
from greenrun.core.errors import ProviderError, ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.providers import Provider, web
from tests.providers.contract import Case, ProviderContract
from tests.providers.source import AUTUMN, NOW, SPRING, Respond, Source, answering, json_answer, truth
from tests.sampling import examples

PAGE = "<!DOCTYPE html><html><body><h1>It works!</h1>api_key=hunter2</body></html>"
EMPTY = ["", "null", "{}", "[]", '""', "0", '{"data":[]}', '{"data":{}}', '{"records":[]}', '{"error":"sorry"}']

ODD = st.sampled_from(["", "-1", "1e400", "9" * 30, "\xb2", "Mon, 01 Jan 99999999999 00:00:00 GMT", "gzip"])
HEADS = st.tuples(
    st.sampled_from([200, 503]),
    st.fixed_dictionaries({"Retry-After": ODD, "X-RateLimit-Remaining": ODD, "Content-Encoding": ODD}),
)


class WebContract(ProviderContract):
    """Subclass it with a `source` fixture."""

    @pytest.fixture
    def source(self) -> Source:
        """The source under test."""
        raise NotImplementedError

    @pytest.fixture
    def case(self, source: Source, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
        """The provider on a good day, on which somebody has all the patience that its pace takes."""
        monkeypatch.setattr(web, "PATIENCE_S", 1e9)
        with answering(source.well(NOW)):
            yield Case(
                provider=source.open(), zone=source.zone, now=NOW, has_forecast=source.forecast is not None,
                has_history=source.history is not None, unknown_zone=source.unknown_zone,
            )  # fmt: skip

    @pytest.mark.parametrize("now", [NOW, SPRING, AUTUMN], ids=["summer", "spring forward", "fall back"])
    def test_every_hour_is_there_once_with_its_value(self, source: Source, now: datetime) -> None:
        """A forecast is complete and says of each slot what the source said, also where clocks are changed."""
        with answering(source.well(now)):
            for series, kinds in _both(source, source.open(), now):
                assert series.holes() == []
                assert {slot.end - slot.start for slot in series} == {source.step}
                assert [slot.intensity_g_per_kwh for slot in series] == pytest.approx([truth(s.start) for s in series])
                assert set(series.kinds) <= kinds

    @pytest.mark.parametrize("count", [2, 3, 7])
    def test_a_short_answer_is_a_short_series(self, source: Source, count: int) -> None:
        """A source that knows little is believed for as much as it knows."""
        if source.forecast is None:
            return
        values = [float(100 + index) for index in range(count)]
        with answering(saying(source, values)):
            series = source.open().forecast(source.zone, NOW).series
        assert [slot.intensity_g_per_kwh for slot in series] == pytest.approx(values)

    def test_a_missing_value_is_a_hole(self, source: Source) -> None:
        """A null in the middle is no value, its neighbours stay; nulls at the end end the series."""
        if source.forecast is None or not source.nulls:
            return
        with answering(saying(source, [100.0, 101.0, None, 103.0, 104.0, None, None])):
            series = source.open().forecast(source.zone, NOW).series
        begin = source.starts(NOW, NOW + source.step)[0]
        assert [(slot.start - begin) // source.step for slot in series] == [0, 1, 3, 4]
        assert series.holes() == [(begin + 2 * source.step, begin + 3 * source.step)]

    @pytest.mark.parametrize("bad", ["NaN", "-5", "99999", "1e400", "Infinity"])
    def test_what_is_no_intensity_is_a_hole(self, source: Source, bad: str) -> None:
        """A value that cannot be is never used, and the rest is."""
        if source.forecast is None:
            return
        with answering(saying(source, [100.0, 101.0, 77777.0, 103.0, 104.0, 105.0], lambda text: _instead(text, bad))):
            series = source.open().forecast(source.zone, NOW).series
        assert len(series) == 5
        assert len(series.holes()) == 1

    def test_mostly_absurd_values_are_refused(self, source: Source) -> None:
        """Another unit is told, not planned with."""
        if source.forecast is None:
            return
        with answering(saying(source, [90_000.0 + index for index in range(6)])), pytest.raises(ProviderGarbage):
            source.open().forecast(source.zone, NOW)

    def test_a_zero_is_a_value_except_of_a_life_cycle(self, source: Source) -> None:
        """A grid on wind alone emits nothing, but its turbines were built."""
        if source.forecast is None:
            return
        with answering(saying(source, [0.0, 0.0, 12.0, 13.0])):
            series = source.open().forecast(source.zone, NOW).series
        is_lifecycle = (series.id.signal, series.id.basis) == (Signal.AVERAGE, Basis.LIFECYCLE)
        assert series.at(NOW) == (None if is_lifecycle else 0.0)

    def test_zeros_that_do_not_end_are_no_forecast(self, source: Source) -> None:
        """A source that has nothing to say must not look like clean power."""
        if source.forecast is None:
            return
        values = [0.0] * min(timedelta(days=1) // source.step, len(source.starts(NOW, NOW + source.ahead)))
        with (
            answering(saying(source, values)),
            pytest.raises(ProviderGarbage, match=r"no intensities|no grid has|says nothing else|over its life cycle"),
        ):
            source.open().forecast(source.zone, NOW)

    def test_text_and_truth_are_no_numbers(self, source: Source) -> None:
        """A value of another type is garbage, never a guess."""
        if source.forecast is None:
            return
        for bad in ('"abc"', "true", "{}"):
            respond = saying(source, [100.0, 77777.0, 102.0], lambda text, bad=bad: _instead(text, bad))
            with answering(respond), pytest.raises(ProviderGarbage):
                source.open().forecast(source.zone, NOW)

    def test_an_instant_without_its_zone_is_refused(self, source: Source) -> None:
        """A naive time may mean any of a day's hours."""
        if source.forecast is None or not source.names_times:
            return
        with answering(saying(source, [100.0, 101.0, 102.0], _naive)), pytest.raises(ProviderGarbage):
            source.open().forecast(source.zone, NOW)

    def test_what_lies_in_the_past_is_no_forecast(self, source: Source) -> None:
        """A forecast that has ended is told as missing, so that it is not taken for one."""
        if source.forecast is None:
            return
        with answering(source.well(NOW - timedelta(days=4))), pytest.raises(ProviderUnavailable):
            source.open().forecast(source.zone, NOW)

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 429, 500, 502, 503])
    @pytest.mark.parametrize(
        "body", [PAGE, '{"error":"no"}', "Access denied", ""], ids=["html", "json", "text", "empty"]
    )
    def test_a_status_means_what_it_says(self, source: Source, status: int, body: str) -> None:
        """ "No" is not asked again; "later" is, a bounded number of times."""
        wanted = ProviderRefused if status in source.refused else ProviderUnavailable
        assert status in source.refused | source.later
        for provider, ask in _asks(source):
            with answering(_failing(source, lambda request: json_answer(body, status))) as asked:
                with pytest.raises(wanted) as caught:
                    ask(provider)
                assert not isinstance(caught.value, ProviderGarbage)
                assert len(asked.requests) <= 3 * web.TRIES

    @pytest.mark.parametrize("body", [PAGE, *EMPTY, '{"data":[{"from":1}]}', '{"data":', "[" * 5000, "\x00\xff"])
    def test_an_answer_that_is_none_is_an_error(self, source: Source, body: str) -> None:
        """Nothing, or nonsense, with status 200 never passes for a series."""
        for provider, ask in _asks(source):
            with answering(_failing(source, lambda request: json_answer(body))):
                try:
                    series = ask(provider)
                except ProviderError as exc:
                    told = str(exc)
                else:
                    told = "" if len(series) == 0 else "a series out of nothing"  # history may just be empty
                assert told != "a series out of nothing"
                assert "hunter2" not in told

    @pytest.mark.parametrize(
        "error", [httpx.ReadTimeout, httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError]
    )
    def test_a_broken_connection_is_unavailable(self, source: Source, error: type[httpx.TransportError]) -> None:
        """What fails on the way is worth asking again, a bounded number of times."""

        def fail(request: httpx.Request) -> httpx.Response:
            raise error("sorry", request=request)

        for provider, ask in _asks(source):
            with answering(_failing(source, fail)) as asked, pytest.raises(ProviderUnavailable):
                ask(provider)
            assert 1 <= len(asked.requests) <= 3 * web.TRIES

    def test_too_much_is_refused(self, source: Source) -> None:
        """An answer larger than the cap is not read to its end."""
        flood = " " * (web.SIZE_CAP_BYTES + 2)
        for provider, ask in _asks(source):
            with answering(_failing(source, lambda request: json_answer(flood))), pytest.raises(ProviderGarbage):
                ask(provider)

    def test_a_redirect_to_another_host_is_not_followed(self, source: Source) -> None:
        """A key stays with whom it was meant for."""
        away = httpx.Response(302, headers={"Location": "https://elsewhere.example/x"})
        for provider, ask in _asks(source):
            with answering(_failing(source, lambda request: away)) as asked:
                with pytest.raises(ProviderRefused, match=r"elsewhere\.example"):
                    ask(provider)
                assert all(request.url.host != "elsewhere.example" for request in asked.requests)

    @settings(examples(60), suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def test_whatever_the_bytes_a_series_or_an_error(self, source: Source, data: st.DataObject) -> None:
        """Any body, near to a true one or far from it, gives a valid series or a ProviderError.

        So do any headers, and nonsense in answer to what is asked besides data.
        """
        for provider, ask in _asks(source):
            body, (status, heads) = data.draw(_bodies(source)), data.draw(HEADS)
            odd = _saying_bytes(body, status, heads)
            with answering(odd if data.draw(st.booleans()) else _failing(source, odd)):
                try:
                    series = ask(provider)
                except ProviderError:
                    continue
                Series.of(series.id, series.slots)  # raises where it is not valid
                assert all(0 <= slot.intensity_g_per_kwh <= 2_000 for slot in series)


def _both(source: Source, provider: Provider, now: datetime) -> Iterator[tuple[Series, set[Kind]]]:
    if source.forecast is not None:
        series = provider.forecast(source.zone, now).series
        assert series.slots[0].start <= now < series.slots[0].end
        assert series.slots[-1].end >= now + source.ahead - source.step
        yield series, {Kind.FORECAST, Kind.ESTIMATED}
    if source.history is not None:
        yield provider.history(source.zone, now - timedelta(days=2), now, now), {Kind.MEASURED}


def _asks(source: Source) -> Iterator[tuple[Provider, Callable[[Provider], Series]]]:
    """Each thing the source has, with a provider that has not asked anything yet."""
    if source.forecast is not None:
        yield source.open(), lambda provider: provider.forecast(source.zone, NOW).series
    if source.history is not None:
        yield source.open(), lambda provider: provider.history(source.zone, NOW - timedelta(days=1), NOW, NOW)


def _failing(source: Source, respond: Respond) -> Respond:
    """Answer questions for data so, and others well."""
    return lambda request: source.side(request) or respond(request)


def saying(source: Source, values: list[float | None], change: Callable[[str], str] = str) -> Respond:
    """Answer questions for data with these values, the first for the slot that holds NOW."""
    return _failing(source, lambda request: json_answer(change(source.body(request, NOW, values))))


def _saying_bytes(body: bytes, status: int, heads: dict[str, str]) -> Respond:
    """Answer every question so."""
    raw = {name: value.encode("latin-1") for name, value in heads.items()}
    return lambda request: httpx.Response(status, headers=raw, stream=httpx.ByteStream(body))


def _instead(text: str, bad: str) -> str:
    """The body with `bad` in the place of the value 77777."""
    changed = re.sub(r"77777(\.0+)?\b", bad, text)
    assert changed != text, "the source's body does not hold the value as it is"
    return changed


def _naive(text: str) -> str:
    changed = re.sub(r"(\d\d:\d\d(:\d\d)?(\.\d+)?)(Z|\+00:00)", r"\1", text)
    assert changed != text, "the source's instants have no zone; say names_times=False"
    return changed


def _bodies(source: Source) -> st.SearchStrategy[bytes]:
    """Bytes of any kind, JSON of any kind, and true bodies with a part replaced."""
    good = json.loads(source.body(httpx.Request("GET", "https://x.example/"), NOW) if source.forecast else "{}")
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    scalars |= st.sampled_from(["2026-06-03T10:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00Z", "", 10**30, 1e308])
    trees = st.recursive(scalars, lambda kids: st.lists(kids, max_size=4) | st.dictionaries(st.text(max_size=8), kids))
    mutated = st.tuples(scalars, st.randoms(use_true_random=False)).map(lambda pair: _mutated(good, *pair))
    return st.binary(max_size=200) | trees.map(_dumped) | mutated.map(_dumped)


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode("utf-8", "replace")


def _mutated(tree: object, scalar: object, random: object) -> object:
    """The tree with one part replaced, somewhere."""
    if isinstance(tree, dict) and tree:
        key = random.choice(sorted(tree))  # type: ignore[attr-defined]
        return {**tree, key: _mutated(tree[key], scalar, random)}
    if isinstance(tree, list) and tree:
        place = random.randrange(len(tree))  # type: ignore[attr-defined]
        return [*tree[:place], _mutated(tree[place], scalar, random), *tree[place + 1 :]]
    return scalar
