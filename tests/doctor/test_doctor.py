"""What doctor says of the daemon, the meters, the sources and the metrics; every problem has a remedy."""

import fcntl
import os
import socket
from pathlib import Path

import pytest

from greenrun import __version__
from greenrun.clock import utc_now
from greenrun.config import load_config
from greenrun.doctor.daemon_checks import ask_daemon, check_prometheus
from greenrun.doctor.device_checks import check_cpu, check_gpus
from greenrun.doctor.examine import examine
from greenrun.doctor.finding import Area, Finding, Status
from greenrun.doctor.source_checks import check_sources, judge
from greenrun.grid.sources import Checked
from greenrun.meters import EmulatedSettings, MeterSettings
from tests.fake_api import serving

OWN = "[paths]\nstate = 'state'\nlocks = 'locks'\n[api]\nsocket = 's'\nmetrics = ''\n"
CONDITION = {"code": "disk_full", "effect": "failing", "text": "the disk is full", "remedy": "free some space"}


def health(*conditions: dict[str, str], version: str = __version__) -> dict[str, object]:
    return {"status": "ok", "conditions": list(conditions), "version": version}


def wrong(found: list[Finding]) -> list[tuple[Status, str]]:
    return [(each.status, each.text) for each in found if each.status is not Status.OK]


def settings(folder: Path, text: str) -> Path:
    file = folder / "greenrun.toml"
    file.write_text(OWN + text, encoding="utf-8")
    return file


# the daemon


def test_what_the_daemon_says_is_wrong_is_told_with_its_remedy(tmp_path: Path) -> None:
    warned = CONDITION | {"effect": "warning", "text": "few descriptors"}
    with serving(tmp_path / "s") as api:
        api.get("/healthz", health(CONDITION, warned), 503)
        answered, found = ask_daemon(tmp_path / "s", None)
    assert answered is not None
    assert wrong(found) == [(Status.FAILED, "the disk is full"), (Status.WARNING, "few descriptors")]
    assert found[0].remedy == "free some space"


def test_a_daemon_that_is_well_or_of_another_version_is_told(tmp_path: Path) -> None:
    with serving(tmp_path / "s") as api:
        api.get("/healthz", health())
        assert wrong(ask_daemon(tmp_path / "s", None)[1]) == []
        api.get("/healthz", health(version="0.0.9"))
        ((status, text),) = wrong(ask_daemon(tmp_path / "s", None)[1])
    assert (status, text.startswith("the daemon is greenrun 0.0.9")) == (Status.WARNING, True)


def test_no_daemon_is_no_failure_and_a_socket_without_one_is(tmp_path: Path) -> None:
    answered, (said,) = ask_daemon(tmp_path / "s", None)
    assert (answered, said.status, said.remedy) == (None, Status.OK, "greenrun serve --detach")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    assert [each.status for each in ask_daemon(tmp_path / "s", None)[1]] == [Status.FAILED]


def test_a_daemon_that_holds_the_state_and_cannot_be_reached_is_told_by_its_number(tmp_path: Path) -> None:
    """As one whose socket was removed; the lock is not tried, which could keep a starting daemon from it."""
    with (tmp_path / "daemon.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answered, (said,) = ask_daemon(tmp_path / "s", tmp_path)
    assert (answered, said.status, said.remedy.split(",")[0]) == (None, Status.FAILED, f"kill {os.getpid()}")
    assert ask_daemon(tmp_path / "s", tmp_path)[1][0].status is Status.OK


# Prometheus


def metrics_at(folder: Path, port: int, *, runs: bool) -> list[Finding]:
    file = folder / "greenrun.toml"
    file.write_text(f"[api]\nmetrics = '127.0.0.1:{port}'\n", encoding="utf-8")
    return list(check_prometheus(load_config(file, {}), runs=runs))


def test_a_port_that_somebody_else_has_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (said,) = metrics_at(tmp_path, port, runs=False)
    assert (said.status, f"sport = :{port}" in said.remedy) == (Status.FAILED, True)
    assert [each.status for each in metrics_at(tmp_path, port, runs=False)] == [Status.OK]
    assert [each.status for each in metrics_at(tmp_path, port, runs=True)] == [Status.FAILED]


# meters


@pytest.mark.system
def test_gpus_are_told_with_how_they_are_read() -> None:
    kinds = MeterSettings(kinds=("emulated",), emulated=EmulatedSettings(gpus=2))
    found = list(check_gpus(kinds, is_stated=True))
    assert (wrong(found), len(found)) == ([], 2)
    assert "EMULATED" in found[0].text
    assert "as emulated: what it tells is made up" in found[0].text


@pytest.mark.system
def test_a_meter_that_was_named_alone_and_refuses_keeps_the_daemon_from_starting() -> None:
    ((status, text),) = wrong(list(check_gpus(MeterSettings(kinds=("constant",)), is_stated=True)))
    assert status is Status.FAILED
    assert "constant: The constant meter has no watts to go by" in text


@pytest.mark.system
def test_meters_that_are_tried_and_refuse_are_told_and_no_gpu_is_a_warning() -> None:
    found = list(check_gpus(MeterSettings(kinds=("constant", "none")), is_stated=False))
    assert [each.status for each in found] == [Status.WARNING] * 2
    assert "constant is not used" in found[0].text
    assert "devices.meter" in found[1].remedy


def test_to_use_no_gpu_on_purpose_is_well() -> None:
    found = list(check_gpus(MeterSettings(kinds=("none",)), is_stated=True))
    assert [each.status for each in found] == [Status.OK]


@pytest.mark.system
def test_cpu_counters_that_root_alone_may_read_have_their_remedy(tmp_path: Path) -> None:
    wanted = MeterSettings(kinds=("none",), cpu_kinds=("rapl",), powercap=tmp_path)
    (found,) = check_cpu(wanted, is_stated=True)
    assert (found.area, found.status, "greenrun-rapl.conf" in found.remedy) == (Area.CPU, Status.FAILED, True)
    (tried,) = check_cpu(MeterSettings(kinds=("none",), powercap=tmp_path), is_stated=False)
    assert tried.status is Status.OK


# sources


def sources(folder: Path, text: str) -> list[Finding]:
    return list(check_sources(load_config(settings(folder, text), {}), utc_now()))


def test_without_a_zone_that_is_a_warning(tmp_path: Path) -> None:
    assert [each.status for each in sources(tmp_path, "")] == [Status.WARNING]


def test_a_source_that_has_no_forecast_fails_unless_another_has_one(tmp_path: Path) -> None:
    gone = "[grid]\nzone = 'GB'\nprovider = {names}\n[provider.gone]\nkind = 'json'\npath = 'gone.json'\nzone = 'GB'\n"
    gone += "signal = 'average'\n[provider.usual]\nkind = 'static'\nzone = 'GB'\n"
    alone = sources(tmp_path, gone.replace("{names}", "['gone']"))
    assert [each.status for each in alone] == [Status.FAILED]
    assert "Without a forecast jobs start at once" in alone[0].text
    both = sources(tmp_path, gone.replace("{names}", "['gone', 'usual']") + "")
    assert [each.status for each in both] == [Status.WARNING] * 2  # and a yearly mean has nothing measured


def test_the_remedy_of_a_key_that_cannot_be_read_is_another_than_that_of_a_network(tmp_path: Path) -> None:
    text = (
        "[grid]\nzone = 'US-CAL-CISO'\nprovider = 'maps'\n[provider.maps]\nkind = 'electricity_maps'\nkey_file = 'k'\n"
    )
    (said,) = sources(tmp_path, text)
    assert "the key file" in said.text
    assert said.remedy == "correct provider.maps; `greenrun providers check` asks again"
    gone = "[grid]\nzone = 'GB'\nprovider = 'uk'\n[provider.uk]\nkind = 'uk_carbon_intensity'\nurl = 'https://uk.example'\n"
    silent = Checked(name="uk", zone="GB", forecast_problem="uk cannot be reached (no route); it is asked again")
    (said,) = judge(load_config(settings(tmp_path, gone), {}), [silent])
    assert said.remedy.startswith("see whether this machine reaches it: curl -sSI https://uk.example; ")


@pytest.mark.parametrize("role", ["history_provider", "marginal"])
def test_a_source_of_past_values_alone_is_judged_by_those(tmp_path: Path, role: str) -> None:
    """Also where it could not even be opened, so that nothing was said of past values."""
    both = f"[grid]\nzone = 'GB'\nprovider = 'usual'\n{role} = 'past'\n[provider.usual]\nkind = 'static'\nzone = 'GB'\n"
    both += "[provider.past]\nkind = 'json'\npath = 'p.json'\nzone = 'GB'\nsignal = 'average'\n"
    config = load_config(
        settings(tmp_path, both.replace("average", "marginal" if role == "marginal" else "average")), {}
    )
    shut = Checked(name="past", zone="GB", forecast_problem="the key file k cannot be read")
    (said,) = judge(config, [shut])
    assert (said.status, said.text) == (
        Status.WARNING,
        "past for GB gives no measured values: the key file k cannot be read",
    )


# all of it


@pytest.mark.system
def test_everything_is_looked_at_and_every_problem_has_a_remedy(tmp_path: Path) -> None:
    file = settings(tmp_path, "[devices]\nmeter = 'none'\n")
    found = list(examine(file, tmp_path / "s", utc_now()))
    assert {each.area for each in found} == set(Area)
    assert [each.text for each in found if each.status is not Status.OK and not each.remedy] == []


def test_settings_that_cannot_be_used_do_not_keep_it_from_the_rest(tmp_path: Path) -> None:
    file = settings(tmp_path, "[nonsense]\n")
    areas = {each.area for each in examine(file, tmp_path / "s", utc_now())}
    assert areas >= {Area.ENVIRONMENT, Area.SETTINGS, Area.DAEMON, Area.CLOCK, Area.SYSTEMD}
