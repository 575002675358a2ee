"""The settings: every way to state them, and every way to get them wrong, told at once in sentences."""

import re
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel

from greenrun import packaged
from greenrun.config import Config, load_config
from greenrun.config.devices import meter_settings
from greenrun.config.models import flatten
from greenrun.config.values import Address
from greenrun.core.errors import ConfigError
from greenrun.core.jobs.runs.anomalies import Limits
from greenrun.providers import find_kind
from greenrun.providers.kinds import BUILT_IN
from greenrun.providers.settings import FileSettings, ProviderSettings

EXAMPLE = packaged.path_of(packaged.EXAMPLE)

REPLAYED = """
[grid]
zone = "GB"
provider = "trace"
[provider.trace]
kind = "file"
path = "GB_2020.csv"
replay = { at = "2020-06-01T02:00+02:00", speed = 1800, horizon = "12h" }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its settings."""
    return tmp_path / "greenrun.toml"


def load(file: Path, text: str, **environ: str) -> Config:
    file.write_text(text, encoding="utf-8")
    return load_config(file, environ)


def told(file: Path, text: str, **environ: str) -> dict[str, str]:
    """Return the problems of settings by key path."""
    with pytest.raises(ConfigError) as caught:
        load(file, text, **environ)
    assert all(str(problem) in str(caught.value) for problem in caught.value.problems)
    return {problem.field: problem.message for problem in caught.value.problems}


# --- what counts ---


def test_without_a_file_the_defaults_hold_and_no_place_is_guessed(tmp_path: Path) -> None:
    """No zone, no provider, no invented meter; the interface's defaults elsewhere."""
    config = load_config(None, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert (config.grid.zone, config.grid.provider, config.provider, config.read_from) == (None, (), {}, None)
    assert config.planner.tick == timedelta(seconds=5)
    assert config.planner.default_max_delay == timedelta(hours=24)
    assert config.api.metrics == Address("127.0.0.1", 9753)
    assert (config.devices.meter, config.devices.cpu_slots, config.devices.pue) == (("nvml", "amd", "none"), 2, 1.0)
    assert (config.devices.cpu_meter, config.devices.powercap) == (("none",), Path("/sys/class/powercap"))
    assert (config.jobs.log_cap, config.jobs.max_queued) == (2**30, 20_000)


def test_each_rule_about_anomalies_can_be_turned_off(file: Path) -> None:
    """By "never" or 0, in the file and in the environment, and it is shown as it would be written."""
    config = load(file, '[anomalies]\ngpu_idle = "never"\npower_off = 0\n', GREENRUN_ANOMALIES__STUCK="0s")
    assert config.anomalies.limits == Limits(gpu_idle=None, power_off=None, stuck=None)
    shown = {key: setting.value for key, setting in config.effective().items() if key.startswith("anomalies.")}
    assert [shown[f"anomalies.{name}"] for name in ("gpu_idle", "power_off", "stuck")] == ["never"] * 3
    assert told(
        file, '[anomalies]\nstuck = "soon"\ngpu_idle_below = 5\npower_off_above = 0.5\npower_off = "8d"\n'
    ).keys() == {
        "anomalies.stuck",
        "anomalies.power_off",
        "anomalies.gpu_idle_below",
        "anomalies.power_off_above",
    }


def test_a_replay_is_read_with_its_path_from_the_file_s_folder(file: Path) -> None:
    """A relative path is meant from the folder of the settings, an instant becomes UTC."""
    trace = load(file, REPLAYED).provider["trace"]
    assert isinstance(trace, FileSettings)
    assert trace.replay is not None
    assert trace.path == file.parent / "GB_2020.csv"
    assert trace.replay.at == datetime(2020, 6, 1, tzinfo=UTC)
    assert (trace.replay.speed, trace.replay.horizon) == (1800.0, timedelta(hours=12))


def test_key_files_are_meant_from_the_file_s_folder_too(file: Path) -> None:
    """Keys lie beside the settings that name them, wherever the daemon was started."""
    text = '[provider.maps]\nkind = "electricity_maps"\nkey_file = "maps.key"\n'
    text += '[provider.margin]\nkind = "watttime"\nusername = "ada"\npassword_file = "keys/password"\n'
    provider = load(file, text).provider
    assert provider["maps"].key_file == file.parent / "maps.key"  # type: ignore[attr-defined]
    assert provider["margin"].password_file == file.parent / "keys" / "password"  # type: ignore[attr-defined]


def test_the_environment_wins_over_the_file(file: Path) -> None:
    """Every key has a variable, down into tables, providers and lists."""
    config = load(
        file,
        REPLAYED + "[planner]\ntick = 7\n",
        GREENRUN_PLANNER__TICK="2s",
        GREENRUN_DEVICES__METER="emulated, none",
        GREENRUN_DEVICES__INCLUDE='["GPU-1", "0"]',
        GREENRUN_DEVICES__EMULATED__GPUS="4",
        GREENRUN_PROVIDER__TRACE__REPLAY__SPEED="900",
        GREENRUN_API__METRICS="",
        GREENRUN_CONFIG="ignored",
        GREENRUN_JOB_ID="12",
    )
    assert config.planner.tick == timedelta(seconds=2)
    assert (config.devices.meter, config.devices.include, config.devices.emulated.gpus) == (
        ("emulated", "none"),
        ("GPU-1", "0"),
        4,
    )
    assert config.provider["trace"].replay.speed == 900  # type: ignore[attr-defined]
    assert config.api.metrics is None


def test_every_setting_tells_where_it_comes_from(file: Path) -> None:
    """`effective` lists all settings by key path, as they would be written, with their origin."""
    effective = load(file, REPLAYED, GREENRUN_PLANNER__TICK="90").effective()
    shown = {key: (effective[key].value, effective[key].origin) for key in effective}
    assert shown["planner.tick"] == ("90s", "environment")
    assert shown["grid.zone"] == ("GB", "file")
    assert shown["provider.trace.replay.at"] == ("2020-06-01T00:00:00Z", "file")
    assert shown["provider.trace.holes"] == ("refuse", "default")
    assert shown["api.metrics"] == ("127.0.0.1:9753", "default")


def test_the_history_provider_is_the_forecast_s_unless_named(file: Path) -> None:
    """One provider may serve both, or one each."""
    assert load(file, REPLAYED).grid.history_names == ("trace",)
    other = REPLAYED.replace("[provider.trace]", 'history_provider = "other"\n[provider.trace]')
    other += '[provider.other]\nkind = "file"\npath = "x.csv"\n'
    assert load(file, other).grid.history_names == ("other",)


def test_paths_expand_and_are_absolute(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` and variables count in paths; a variable that is not set is told."""
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setenv("SCRATCH", "/scratch")
    config = load(file, '[paths]\nstate = "~/s"\nlocks = "$SCRATCH/l"\n[api]\nsocket = "run.sock"\n')
    assert (config.paths.state, config.paths.locks) == (Path("/home/x/s"), Path("/scratch/l"))
    assert config.api.socket == file.parent / "run.sock"
    assert "not set" in told(file, '[paths]\nstate = "$NO_SUCH_VARIABLE/s"\n')["paths.state"]


def test_settings_cannot_be_changed_once_read(file: Path) -> None:
    """What was validated together stays together."""
    config = load(file, REPLAYED)
    with pytest.raises(ValueError, match="frozen"):
        config.planner.tick = timedelta(0)
    with pytest.raises(ValueError, match="frozen"):
        config.grid = config.grid


@pytest.mark.parametrize(
    ("zone", "text"),
    [(zone, REPLAYED.replace('"GB"', f'"{zone}"')) for zone in ("GB:13", "GB:RG41", "DE", "US-CAL-CISO", "CAISO_NORTH")]
    + [(zone, REPLAYED.replace('"GB"', f'"{zone}"')) for zone in ("AU-SA", "IN-MH", "DK-DK1", "SYNTHETIC")]
    + [("Narnia", REPLAYED.replace('"GB"', '"Narnia"') + 'zone = "Narnia"\n')],
    ids=lambda value: value if len(value) < 20 else "",
)
def test_known_zones_are_accepted(file: Path, zone: str, text: str) -> None:
    """Countries, parts of them, regions, balancing areas, and whatever a provider says it serves."""
    assert load(file, text).grid.zone == zone


# --- what is wrong ---


def test_all_problems_are_told_at_once_by_key_path(file: Path) -> None:
    """Unknown keys and sections, bad values, missing keys and dangling names: one message for all of them."""
    text = """
        plannr = {}
        [planner]
        tick = "5 parsecs"
        horizon = 0
        min_savings = 3
        [grid]
        zone = "Atlantis"
        provider = ["trace", "uk"]
        settle_after = -5
        [provider.trace]
        kind = "file"
        replay = { at = "2020-06-01T00:00", speed = -1 }
        [provider.x]
        kind = "crystal_ball"
        [provider.y]
        [api]
        metrics = "0.0.0.0:1"
        socket = 3.5
        tcp = "0.0.0.0:80"
        [devices]
        meter = ["nvlm"]
        pue = 0.9
        [devices.emulated]
        watts_idle = 400
        [jobs]
        log_cap = "1 parsec"
        [log]
        level = "loud"
    """
    problems = told(file, text, GREENRUN_PLANER__TICK="3", GREENRUN_GRID__ZON="GB")
    assert {key: problems[key] for key in ("planner.min_savings", "provider.x.kind", "plannr", "devices.meter[0]")} == {
        "planner.min_savings": "unknown key; did you mean 'min_saving'?",
        "provider.x.kind": f"unknown kind 'crystal_ball'; known are {', '.join(BUILT_IN)}",
        "plannr": "unknown key; did you mean 'planner'?",
        "devices.meter[0]": "must be 'nvml', 'amd', 'emulated', 'constant' or 'none', not 'nvlm'",
    }
    assert set(problems) == {
        *("GREENRUN_PLANER__TICK", "plannr", "planner.tick", "planner.horizon", "planner.min_savings"),
        *("grid.zone", "grid.zon", "grid.provider", "grid.settle_after", "provider.trace.path"),
        *("provider.trace.replay.at", "provider.trace.replay.speed", "provider.x.kind", "provider.y.kind"),
        *("api.metrics", "api.tcp", "devices.meter[0]", "devices.pue", "devices.emulated", "jobs.log_cap", "log.level"),
    }


def test_broken_toml_is_told_with_its_place(file: Path) -> None:
    """File, line and column."""
    problems = told(file, "[planner]\ntick = = 5\n")
    assert re.search(r"not TOML: .*line 2, column 8", problems[""])
    with pytest.raises(ConfigError, match=re.escape(str(file))):
        load_config(file, {})


@pytest.mark.parametrize(
    "raw", [b"\xff\xfe", b"#" * 1_048_577, b"a = " + b"[" * 100_000], ids=["bytes", "huge", "deep"]
)
def test_what_is_no_settings_file_is_refused(file: Path, raw: bytes) -> None:
    """Any bytes lead to a ConfigError that names the file."""
    file.write_bytes(raw)
    with pytest.raises(ConfigError, match=re.escape(str(file))):
        load_config(file, {})


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Defaults hold when nothing was named, never in place of what was."""
    absent = tmp_path / "absent.toml"
    for path, environ in ((absent, {}), (None, {"GREENRUN_CONFIG": str(absent)}), (tmp_path, {})):
        with pytest.raises(ConfigError, match="there is no such file"):
            load_config(path, environ)


@pytest.mark.parametrize(
    ("zone", "hint"),
    [("Atlantis", "Atlantis"), ("UK", "mean 'GB'"), ("gb", "mean 'GB'"), ("Germany", "mean 'DE'"), ("ZZ", "'ZZ'")],
)
def test_an_unknown_zone_is_told_with_what_would_do(file: Path, zone: str, hint: str) -> None:
    """The forms of zones, and the nearest known one when there is one."""
    message = told(file, REPLAYED.replace('"GB"', f'"{zone}"'))["grid.zone"]
    assert message.startswith(f"unknown zone '{zone}'; use a country")
    assert hint in message


def test_a_zone_without_a_source_means_nothing_and_is_told(file: Path) -> None:
    """Emissions would silently stay unknown."""
    assert "no source" in told(file, '[grid]\nzone = "GB"\n')["grid.provider"]


def test_a_provider_without_a_zone_is_told(file: Path) -> None:
    """greenrun never guesses a place."""
    assert "guesses no place" in told(file, REPLAYED.replace('zone = "GB"\n', ""))["grid.zone"]


def test_zones_watched_besides_are_zones_that_a_provider_may_serve(file: Path) -> None:
    """They are checked as the host's own is."""
    uk = '[grid]\nzone = "GB"\nprovider = "uk"\nalso = ["GB:13", "DE"]\n[provider.uk]\nkind = "uk_carbon_intensity"\n'
    assert load(file, uk).grid.also == ("GB:13", "DE")
    assert "mean 'DE'" in told(file, uk.replace('"DE"', '"Germany"'))["grid.also"]


def test_with_several_zones_values_that_could_be_of_any_must_say_of_which_they_are(file: Path) -> None:
    """One country's file would pass for another's."""
    problems = told(file, REPLAYED.replace("provider =", 'also = "DE"\nprovider ='))
    assert "would pass for those of every zone" in problems["provider.trace.zone"]


def test_a_provider_of_another_zone_is_told(file: Path) -> None:
    """A provider that says which zone it serves must agree with the grid."""
    assert told(file, REPLAYED + 'zone = "DE"\n')["grid.zone"] == (
        "no provider serves zone 'GB': 'trace' serves 'DE'; make them agree"
    )


def test_a_constant_meter_needs_its_watts(file: Path) -> None:
    """No power is invented."""
    assert "needs [devices.constant]" in told(file, '[devices]\nmeter = "constant"\n')["devices"]
    assert set(told(file, "[devices.constant]\ngpus = 1\n")) == {
        "devices.constant.watts_idle",
        "devices.constant.watts_busy",
    }


def test_measured_values_are_kept_for_longer_than_it_takes_them_to_settle(file: Path) -> None:
    assert told(file, '[grid]\nhistory_retention = "1d"\n').keys() == {"grid"}


def test_a_name_that_is_listed_twice_is_meant_once(file: Path) -> None:
    """Twice the same source would be asked twice, and its metrics would be no metrics."""
    file.write_text('[grid]\nzone = "GB"\nprovider = ["uk", "uk"]\nalso = "DE, DE"\n[provider.uk]\nkind = "static"\n')
    grid = load_config(file).grid
    assert (grid.provider, grid.also) == (("uk",), ("DE",))


def test_the_cpu_has_meters_of_its_own(file: Path) -> None:
    """A meter of GPUs is none of CPUs, and the other way round."""
    assert told(file, '[devices]\ncpu_meter = ["rapl", "nvml"]\nmeter = "rapl"\n') == {
        "devices.cpu_meter[1]": "must be 'rapl' or 'none', not 'nvml'",
        "devices.meter[0]": "must be 'nvml', 'amd', 'emulated', 'constant' or 'none', not 'rapl'",
    }


PDU = '[devices.external.pdu]\nkind = "command"\ncommand = ["pdu"]\nunit = "J"\n'
BMC = '[devices.external.bmc]\nkind = "http"\nurl = "https://bmc.example/energy"\nunit = "kWh"\n'


def test_external_meters_are_read_beside_the_others(file: Path) -> None:
    """Each in the order in which it is named."""
    pdu, bmc = meter_settings(load(file, PDU + "wraps_at = 4294967296\n" + BMC + 'value = "a.0"\n').devices).external
    assert (pdu.name, pdu.command, pdu.unit, pdu.wraps_at, pdu.every_s, pdu.index) == (
        "pdu", ("pdu",), "J", 2.0**32, 10.0, 0,
    )  # fmt: skip
    assert (bmc.url, bmc.value, bmc.component, bmc.index) == ("https://bmc.example/energy", "a.0", "external", 1)


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        (PDU + 'url = "http://a"\n', "devices.external.pdu", "kind 'command' needs command, and no url"),
        (BMC + 'command = ["a"]\n', "devices.external.bmc", "kind 'http' needs url, and no command"),
        (PDU + 'header_file = "/a"\n', "devices.external.pdu", "header_file is for kind 'http'"),
        (PDU + 'component = "gpu"\n', "devices.external.pdu.component", "must be 'external', 'cpu' or 'dram'"),
        (PDU + 'component = "dram"\n', "devices.external.pdu", "which takes a reading every 5s"),
        ("".join(PDU.replace("pdu]", f"p{n}]") for n in range(9)), "devices.external", "8"),
        (PDU + 'every = "2m"\n', "devices.external.pdu", "every must be from 1s to 1m"),
        (PDU + "wraps_at = 100000\n", "devices.external.pdu", "at watts_max the counter wraps every 5s"),
        (PDU.replace(".pdu]", '."a b"]'), "devices.external", "small letters, digits"),
        (BMC.replace("https://", "http://") + 'header_file = "/a"\n', "devices.external.bmc", "in the clear"),
        (BMC.replace("https://", "https://me:hush@"), "devices.external.bmc.url", "without a user"),
        (BMC.replace("https://", "ftp://"), "devices.external.bmc.url", "begins with http:// or https://"),
        (BMC.replace("bmc.example", "bmc.example:x"), "devices.external.bmc.url", "is no address"),
        (
            PDU + 'component = "cpu"\nevery = "5s"\n[devices]\ncpu_meter = "rapl"\n',
            "devices",
            "counts what cpu_meter 'rapl' counts: set cpu_meter to 'none'",
        ),
    ],
)
def test_an_external_meter_that_makes_no_sense_is_told(file: Path, text: str, field: str, said: str) -> None:
    """Among these: a secret that would travel in the clear, and energy that would be counted twice."""
    problems = {key: message for key, message in told(file, text).items() if key.startswith(field)}
    assert len(problems) == 1
    assert said in next(iter(problems.values()))
    assert "hush" not in next(iter(problems.values()))


def test_a_section_that_is_no_table_is_told(file: Path) -> None:
    """Shapes are checked before anything reads them."""
    assert set(told(file, "planner = 3\ngrid = []\nprovider = 1\n")) == {"planner", "grid", "provider"}
    assert set(told(file, "[provider]\ntrace = 1\n")) == {"provider.trace.kind"}


def test_a_table_in_the_environment_must_be_json(file: Path) -> None:
    """What cannot be read from a variable is told like anything else."""
    assert "devices" in told(file, "", GREENRUN_DEVICES__EMULATED="many")["environment"]


# --- the example ---


def settings_of(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield the key path of every setting of a model."""
    for name, field in model.model_fields.items():
        rows = get_origin(field.annotation) is tuple  # what a row of a list says is not a setting by itself
        kinds = [] if rows else [field.annotation, *get_args(field.annotation)]
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if inner is None:
            yield prefix + (field.alias or name)
        else:
            yield from settings_of(inner, f"{prefix}{name}.")


def test_the_example_loads_and_states_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, copying it changes nothing."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert load_config(EXAMPLE, {}).model_dump() == Config().model_dump()


def test_the_example_has_every_setting_and_no_other(file: Path) -> None:
    """With everything switched on it loads, and its keys are exactly those of the models, each kind's in some block."""
    text = re.sub(r"^#(?=\[|\w+ = )", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    texts = alternatives(text)
    providers = load(file, texts[0]).provider
    both = [re.sub(r"^budget[.](user|project)[.]", "budget.owner.", key) for key in settings_of(Config, "")]
    models = [key for key in both if key != "provider"]
    kinds = [f"{kind}: {key}" for kind in BUILT_IN for key in settings_of(find_kind(kind).settings, "")]
    stated = {key for each in texts for key in flatten(load(file, each) and tomllib.loads(each))}
    assert {_setting(key, providers) for key in stated} == {*models, *kinds}


def alternatives(text: str) -> list[str]:
    """Return the texts of which each has a table once: one that stands there again is another way to say it."""
    tables = re.split(r"^(?=\[)", text, flags=re.MULTILINE)
    ways: dict[str, list[str]] = {}
    for each in tables:
        ways.setdefault(each.partition("]")[0], []).append(each)
    most = max(len(each) for each in ways.values())
    return ["".join(each[min(way, len(each) - 1)] for each in ways.values()) for way in range(most)]


def _setting(key: str, providers: dict[str, ProviderSettings]) -> str:
    """The setting that a key states: a provider's is its kind's, and the keys of a `location` are zones."""
    key = re.sub(r"^(devices[.](?:external|reserved)|notify|project)[.][^.]+", r"\1", key)
    key = re.sub(r"^budget[.](user|project)[.][^.]+", "budget.owner", key)
    key = re.sub(r"^fair_share[.]shares[.].+", "fair_share.shares", key)
    _, name, setting = key.split(".", 2) if key.startswith("provider.") else ("", "", key)
    return f"{providers[name].kind}: {re.sub(r'^location[.].+', 'location', setting)}" if name else setting
