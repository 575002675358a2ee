"""A package can bring a kind of provider of its own, and one that is no use harms nobody else's."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zipfile import ZipFile

import pytest

from greenrun.config import load_config
from greenrun.core.errors import ConfigError, ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.providers import Provider, find_kind, kind_names, kinds, name_clashes, open_provider
from greenrun.providers.kinds import BUILT_IN
from greenrun.providers.provider import ProviderKind
from tests.patience import HANGS_S

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def block(language: str, which: int) -> str:
    """A block of the page that has the recipe."""
    return PAGE.split(f"```{language}\n")[1 + which].split("```")[0]


PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
MODULE = block("python", 0)
PROJECT = block("toml", 0)
SETTINGS = block("toml", 1)

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package: its module's text, and the entry points that its metadata declare."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    known = set(sys.modules)

    def installed(module: str, code: str, *, declares: str = "lab", package: str = "lab-grid", name: str = "") -> None:
        (site / f"{module}.py").write_text(code, encoding="utf-8")
        folder = site / f"{package.replace('-', '_')}-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n", encoding="utf-8")
        entry = f"[greenrun.providers]\n{declares} = {module}:{name or 'PROVIDER'}\n"
        (folder / "entry_points.txt").write_text(entry, encoding="utf-8")
        forget()

    yield installed
    for name in set(sys.modules) - known:
        if name.startswith("lab_"):
            del sys.modules[name]
    forget()


def forget() -> None:
    """Let what is installed be looked up anew, as a process does that begins."""
    find_kind.cache_clear()
    kinds._installed.cache_clear()


def opened(code: str, install: Install) -> Provider:
    """A provider of a package's kind."""
    install("lab_grid", code)
    settings = find_kind("lab").settings.model_validate({"kind": "lab", "g_per_kwh": 55})
    return open_provider("mine", settings, lambda key: NOW)


def test_greenrun_s_own_kinds_are_all_there() -> None:
    for name in BUILT_IN:
        kind = find_kind(name)
        assert isinstance(kind, ProviderKind)
        assert (kind.package, kind.problem) == ("greenrun", None)
        assert kind.settings.model_fields["kind"].default == name


def test_a_package_is_built_and_installed_and_its_provider_used(tmp_path: Path) -> None:
    """The recipe of docs/plugins.md, from what its pyproject.toml declares to `greenrun providers`."""
    site, wheel = tmp_path / "site", tmp_path / "lab_grid-1.2-py3-none-any.whl"
    declared = tomllib.loads(PROJECT)["project"]
    package, version = declared["name"], declared["version"]
    ((group, entries),) = declared["entry-points"].items()
    info = "lab_grid-1.2.dist-info"
    files = {
        "lab_grid.py": MODULE,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "\n".join(
            [f"[{group}]", *(f"{kind} = {where}" for kind, where in entries.items())]
        ),
        f"{info}/RECORD": "",
    }
    with ZipFile(wheel, "w") as written:
        for name, text in files.items():
            written.writestr(name, text)
    (tmp_path / "greenrun.toml").write_text(SETTINGS, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", site, wheel], cwd=tmp_path, timeout=HANGS_S, check=True)

    def greenrun(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "greenrun.cli", *words], cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(site), "COLUMNS": "120"},
            capture_output=True, text=True, timeout=HANGS_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = json.loads(greenrun("providers", "kinds", "--json"))
    assert listed[-1] == {
        "kind": "lab", "package": "lab-grid 1.2", "zones": ["IS"], "needs_key": False, "problem": None,
    }  # fmt: skip
    config = ("--config", str(tmp_path / "greenrun.toml"))
    assert "lab (lab-grid 1.2)" in greenrun("providers", "list", *config, "--socket", str(tmp_path / "none"))
    asked = json.loads(greenrun("providers", "check", *config, "--json"))[0]
    assert (asked["forecast"]["slots"], asked["label"]) == (24, "made up")
    assert "Iceland" in greenrun("zones", "--search", "IS")


def test_its_settings_are_validated_by_its_own_model(install: Install, tmp_path: Path) -> None:
    install("lab_grid", MODULE)
    file = tmp_path / "greenrun.toml"
    file.write_text(SETTINGS, encoding="utf-8")
    mine = load_config(file, {}).provider["mine"]
    assert (mine.kind, mine.model_dump()["g_per_kwh"]) == ("lab", 55.0)
    assert mine.model_dump()["notes_file"] == str(tmp_path / "notes.txt")
    file.write_text(SETTINGS.replace("g_per_kwh = 55", 'gramms = "many"'), encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load_config(file, {})
    assert {problem.field for problem in raised.value.problems} == {"provider.mine.g_per_kwh", "provider.mine.gramms"}


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (
            "g_per_kwh: float\n    @classmethod\n    def model_validate(cls, given): raise SystemExit(3)",
            "SystemExit: 3",
        ),
        ("g_per_kwh: 'Unknown'", "PydanticUserError: "),
        ("g_per_kwh: float\n    odd: object = object()", "PydanticSerializationError: "),
    ],
)
def test_settings_that_its_model_fails_on_are_one_of_the_problems(
    install: Install, tmp_path: Path, field: str, told: str
) -> None:
    install("lab_grid", MODULE.replace("g_per_kwh: float", field))
    file = tmp_path / "greenrun.toml"
    file.write_text(SETTINGS.replace("g_per_kwh = 100", "g_per_kwh = 'much'"), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"the settings of lab-grid 1\.2 cannot be read \({told}") as raised:
        load_config(file, {})
    assert {problem.field for problem in raised.value.problems} == {"provider.mine", "provider.spare.g_per_kwh"}


def test_an_unknown_kind_is_told_with_those_that_are_installed(install: Install) -> None:
    install("lab_grid", MODULE)
    assert kind_names() == [*BUILT_IN, "lab"]
    with pytest.raises(ConfigError, match=r"unknown kind 'crystal_ball'; known are file, .*, entsoe, lab$"):
        find_kind("crystal_ball")


def test_nothing_is_looked_up_and_no_http_loaded_for_a_kind_of_greenrun_s_own() -> None:
    looked_up = "kinds._installed.cache_info().currsize"
    code = "import sys; from greenrun.providers import find_kind, kinds; find_kind('static'); "
    code += f"print({looked_up}, 'httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGS_S, check=True)
    assert done.stdout == "0 False\n"


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import not_there", r"cannot be imported \(ModuleNotFoundError: No module named 'not_there'\); update or"),
        ("def (", r"cannot be imported \(SyntaxError: "),
        ("raise SystemExit", r"cannot be imported \(SystemExit\); update or uninstall that package"),
        ("OTHER = 1", r"cannot be imported \(AttributeError: .*'PROVIDER'"),
        (
            "from greenrun.providers import ProviderKind\nPROVIDER = ProviderKind(settings=dict, open=print)",
            "lab_grid:PROVIDER of lab-grid 1.2 has settings that are not a ProviderSettings; ask its author",
        ),
        (
            MODULE.replace("open=Lab", "open=None"),
            "lab_grid:PROVIDER of lab-grid 1.2 has an `open` that is a NoneType and no function; ask its author",
        ),
        (MODULE.replace("zones=Lab.zones", "zones=None"), "has zones that are a NoneType and no mapping"),
        (MODULE.replace("zones=Lab.zones", "zones={1: 2}"), "has zones that cannot be used"),
        (
            "PROVIDER = print",
            r"lab_grid:PROVIDER of lab-grid 1.2 is a builtin_function_or_method and not a ProviderKind",
        ),
    ],
)
def test_a_plug_in_that_cannot_be_loaded_refuses_and_says_why(
    install: Install, tmp_path: Path, code: str, sentence: str
) -> None:
    """The settings are good all the same, and the provider beside it is asked."""
    install("lab_grid", code)
    file = tmp_path / "greenrun.toml"
    file.write_text(SETTINGS, encoding="utf-8")
    config = load_config(file, {})
    broken, spare = (open_provider(name, config.provider[name], lambda key: NOW) for name in ("mine", "spare"))
    for ask in (lambda: broken.forecast("IS", NOW), lambda: broken.history("IS", NOW - HOUR, NOW, NOW)):
        with pytest.raises(ProviderRefused, match=sentence):
            ask()
    assert spare.forecast("IS", NOW).series.at(NOW) is not None
    assert find_kind("lab").problem is not None


@pytest.mark.parametrize(
    ("part", "without", "told"),
    [
        ("    refresh_every = HOUR\n", "", "refresh_every"),
        ("    web = None\n", "", "web"),
        ('    zones: Mapping[str, str] = {"IS": "Iceland"}\n', "", "zones"),
        ("self.label, self.attribution", "self.tag, self.attribution", "label"),
        ("def history(", "def past(", "history"),
        ("self.settle_after = settle_after", "self.settle_after = 24", "settle_after"),
        ("self.settle_after = settle_after", "self.settle_after = -HOUR", r"settle_after \(from 0s to 366d\)"),
        ("    refresh_every = HOUR\n", "    refresh_every = -HOUR\n", r"refresh_every \(from 1s to 366d\)"),
        ("    refresh_every = HOUR\n", "    refresh_every = timedelta(0)\n", r"refresh_every \(from .*\)"),
        ("    refresh_every = HOUR\n", "    refresh_every = timedelta.max\n", r"refresh_every \(from .*\)"),
        ("    web = None\n", "    web = 'http://x'\n", r"web \(a greenrun\.providers\.web\.Web, or None\)"),
    ],
    ids=lambda each: str(each).strip(),
)
def test_a_provider_that_lacks_a_part_of_the_port_refuses_and_names_it(
    install: Install, part: str, without: str, told: str
) -> None:
    provider = opened(MODULE.replace(", zones=Lab.zones", "").replace(part, without), install)
    with pytest.raises(
        ProviderRefused, match=rf"lacks what a provider has, or has it in another form: {told}; ask its"
    ):
        provider.forecast("IS", NOW)


@pytest.mark.parametrize(
    ("part", "instead", "told"),
    [
        ("self.settle_after = settle_after", "raise KeyError('x')", r"KeyError: 'x'"),
        ("self.settle_after = settle_after", "raise SystemExit(9)", "SystemExit: 9"),
        ("    web = None\n", "    web = property(lambda self: {}['web'])\n", "KeyError: 'web'"),
        (
            '    zones: Mapping[str, str] = {"IS": "Iceland"}\n',
            "    zones = property(lambda self: {}['zones'])\n",
            "KeyError: 'zones'",
        ),
        ('{"IS": "Iceland"}', "{1: 2}", "TypeError: zones that are not text"),
    ],
)
def test_one_that_cannot_be_opened_refuses_and_says_why(install: Install, part: str, instead: str, told: str) -> None:
    assert part in MODULE
    broken = opened(MODULE.replace(", zones=Lab.zones", "").replace(part, instead), install)
    with pytest.raises(ProviderRefused, match=rf"'mine' of lab-grid 1\.2 cannot be opened \({told}\); correct its"):
        broken.forecast("IS", NOW)


def test_its_own_refusal_stops_the_start(install: Install) -> None:
    refusing = MODULE.replace("self.settle_after = settle_after", "raise ProviderRefused('no key')")
    install("lab_refusing", refusing, declares="no_key", package="lab-other")
    settings = find_kind("no_key").settings.model_validate({"g_per_kwh": 55})
    with pytest.raises(ProviderRefused, match="no key"):
        find_kind("no_key").open("mine", settings, lambda key: NOW, HOUR)


ASK = "series = SeriesId(provider=self.name, zone=zone)"
ANSWER = "return Forecast(series=Series.of(series, slots), fetched_at=now)"
HISTORY = 'raise ProviderRefused("lab measures nothing; name a history_provider in [grid]")'
FAILED = r"'mine' of lab-grid 1\.2 failed "
ANSWERED = r"'mine' of lab-grid 1\.2 answered with "


@pytest.mark.parametrize(
    ("part", "instead", "error", "sentence"),
    [
        (ASK, "raise KeyError('rates')", ProviderGarbage, rf"{FAILED}\(KeyError: 'rates'\); ask its"),
        (ASK, "raise SystemExit(7)", ProviderGarbage, rf"{FAILED}\(SystemExit: 7\); ask its"),
        (ASK, "raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})", ProviderGarbage, rf"{FAILED}\(E\)"),
        (ASK, "return None", ProviderGarbage, f"{ANSWERED}a NoneType instead of a Forecast"),
        (ASK, "raise ProviderRefused('a sentence of its own')", ProviderRefused, "^a sentence of its own$"),
        ("Series.of(series, slots)", "None", ProviderGarbage, f"{ANSWERED}a NoneType instead of a Series"),
        ("Series.of(series, slots)", "Series.of(None, slots)", ProviderGarbage, "a NoneType instead of a SeriesId"),
        (
            "fetched_at=now", "fetched_at=now.replace(tzinfo=None)",
            ProviderGarbage, rf"{ANSWERED}an instant \(fetched_at\) without a time zone",
        ),
        (
            "fetched_at=now", "fetched_at=now, issued_at=now.replace(tzinfo=None)",
            ProviderGarbage, rf"{ANSWERED}an instant \(issued_at\) without a time zone",
        ),
        ("fetched_at=now", "fetched_at=now.replace(year=9999)", ProviderGarbage, r"\(fetched_at\) that cannot be"),
        ("fetched_at=now", "fetched_at='now'", ProviderGarbage, "a str instead of a datetime"),
        ("fetched_at=now", "fetched_at=now, fallback_level='fresh'", ProviderGarbage, "instead of a FallbackLevel"),
        (
            "provider=self.name", "provider='somebody'",
            ProviderGarbage, f"{ANSWERED}a series of provider 'somebody' and zone 'IS' where 'mine' and 'IS'",
        ),
        ("zone=zone)", "zone='XX')", ProviderGarbage, "a series of provider 'mine' and zone 'XX' where"),
        ("zone=zone)", "zone=zone, signal='average')", ProviderGarbage, "a str instead of a Signal"),
        ("zone=zone)", "zone=zone, basis='direct')", ProviderGarbage, "a str instead of a Basis"),
        (ANSWER, "made = Series.of(series, slots)\n        made.values[:] = float('nan')\n        "
         "return Forecast(series=made, fetched_at=now)", ProviderGarbage, "not valid .* is not a number"),
        (ANSWER, "made = Series.of(series, slots)\n        made.starts_s[:] = made.starts_s[::-1].copy()\n        "
         "return Forecast(series=made, fetched_at=now)", ProviderGarbage, f"{ANSWERED}a series that is not valid"),
        ("Kind.FORECAST", "'forecast'", ProviderGarbage, "a str instead of a Kind"),
        ("Kind.FORECAST", "Kind.MEASURED", ProviderGarbage, "a slot that is called measured and has not ended"),
        ("range(24)", "range(-24, 0)", ProviderUnavailable, "has no values for IS from now on"),
    ],
)  # fmt: skip
def test_what_fails_in_it_is_a_failure_of_that_provider(
    install: Install, part: str, instead: str, error: type[Exception], sentence: str
) -> None:
    assert part in MODULE
    provider = opened(MODULE.replace(part, instead), install)
    with pytest.raises(error, match=sentence):
        provider.forecast("IS", NOW)


@pytest.mark.parametrize(
    ("instead", "sentence"),
    [
        ("raise SystemExit(7)", rf"{FAILED}\(SystemExit: 7\)"),
        ("return None", f"{ANSWERED}a NoneType instead of a Series"),
        ("return self.forecast(zone, now).series", "slots of a kind other than measured"),
        (
            "return Series.of(SeriesId(provider=self.name, zone=zone), [Slot(now, now + HOUR, 5.0, Kind.MEASURED)])",
            "a slot that is called measured and has not ended",
        ),
        (
            "made = Series.of(SeriesId(provider=self.name, zone=zone), [Slot(start, now, 5.0, Kind.MEASURED)])\n"
            "        made.values[:] = float('nan')\n        return made",
            f"{ANSWERED}a series that is not valid",
        ),
    ],
)
def test_what_it_says_was_measured_is_checked_as_its_forecasts_are(
    install: Install, instead: str, sentence: str
) -> None:
    assert HISTORY in MODULE
    provider = opened(MODULE.replace(HISTORY, instead), install)
    with pytest.raises(ProviderGarbage, match=sentence):
        provider.history("IS", NOW - HOUR, NOW, NOW)


def test_its_clock_is_held_to_greenrun_s(install: Install) -> None:
    ahead = "fetched_at=now + HOUR, issued_at=now + HOUR"
    forecast = opened(MODULE.replace("fetched_at=now", ahead), install).forecast("IS", NOW)
    assert (forecast.fetched_at, forecast.issued_at) == (NOW, NOW)


def test_zones_that_fail_later_are_those_it_named_before(install: Install) -> None:
    code = MODULE.replace("return Forecast(", "self.zones = 5\n        return Forecast(")
    provider = opened(code, install)
    provider.forecast("IS", NOW)
    assert provider.zones == {"IS": "Iceland"}


def test_a_name_of_greenrun_s_own_stays_greenrun_s(install: Install) -> None:
    install("lab_grid", MODULE, declares="static")
    assert find_kind("static").package == "greenrun"
    assert name_clashes() == [
        "lab-grid 1.2 declares a kind of provider named 'static', which is greenrun's own; the package's is ignored:"
        " ask its author for another name"
    ]


def test_two_packages_with_one_name_are_both_refused(install: Install) -> None:
    install("lab_grid", MODULE)
    install("lab_other", MODULE, package="lab-other")
    assert find_kind("lab").problem == (
        "lab-grid 1.2 and lab-other 1.2 each declare a kind of provider named 'lab'; uninstall all but one"
    )
