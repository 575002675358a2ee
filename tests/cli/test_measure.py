"""`greenrun measure`: its JSON, its exit codes, and that a command under it is as it would be without."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from greenrun.clock import utc_now
from greenrun.measuring import measurement
from greenrun.measuring.measurement import READING_LIMIT_S
from tests.cli.conftest import Run
from tests.fake_api import FakeApi
from tests.meters.cpu.powercap import FakeZone, zone
from tests.patience import HANGS_S, exit_code, until, watching

COMMAND = [sys.executable, "-m", "greenrun.cli", "measure"]
NOTHING = ("--meter", "none", "--cpu-meter", "none")  # opens nothing, so it is quick
PRICED = """
[grid]
zone = "GB"
provider = "mean"
[provider.mean]
kind = "static"
g_per_kwh = 250
[devices]
meter = "emulated"
cpu_meter = "none"
pue = 1.5
[devices.emulated]
gpus = 2
watts_idle = 100
"""

Settings = Callable[[str], Path]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a reading take all the time that it takes on a busy machine."""
    monkeypatch.setattr(measurement, "READING_LIMIT_S", 30.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Write settings that keep everything in the test's folder."""

    def write(text: str) -> Path:
        file = tmp_path / "greenrun.toml"
        file.write_text(f'{text}\n[paths]\nstate = "state"\n[api]\nsocket = "socket"\n', encoding="utf-8")
        return file

    return write


@pytest.fixture
def cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeZone:
    """A package of a CPU, whose counter stands still, as the one meter that there is."""
    monkeypatch.setenv("GREENRUN_DEVICES__POWERCAP", str(tmp_path / "powercap"))
    return zone(tmp_path / "powercap", "intel-rapl:0", "package-0", 1000.0)


def answer(out: str) -> Any:
    """What --json printed, behind what the command did."""
    return json.loads(out.splitlines()[-1])


def types(value: object) -> object:
    """The shape of JSON: names and types."""
    if isinstance(value, dict):
        return {name: types(inner) for name, inner in value.items()}
    return [types(inner) for inner in value] if isinstance(value, list) else type(value).__name__


# what is told


def test_the_json_has_the_agreed_fields(run: Run, settings: Settings) -> None:
    told = answer(run("measure", "--config", str(settings(PRICED)), "--json", "--for", "0.2s").out)
    agreed = {
        "duration_s": "float",
        "energy_j": "float",
        "emissions_g": "float",
        "intensity": {"g_per_kwh": "float", "kind": "str", "provider": "str"},
        "exit_code": "NoneType",
    }
    assert {name: types(told[name]) for name in agreed if name != "intensity"} == {
        name: kind for name, kind in agreed.items() if name != "intensity"
    }
    assert types({name: told["intensity"][name] for name in ("g_per_kwh", "kind", "provider")}) == agreed["intensity"]
    assert {(each["kind"], each["quality"], each["gap_s"]) for each in told["devices"]} == {("gpu", "emulated", 0.0)}
    assert all(isinstance(each["id"], str) and isinstance(each["energy_j"], float) for each in told["devices"])


def test_energy_emissions_and_their_intensity_fit_together(run: Run, settings: Settings) -> None:
    told = answer(run("measure", "--config", str(settings(PRICED)), "--json", "--for", "0.3s").out)
    assert told["energy_j"] == pytest.approx(sum(each["energy_j"] for each in told["devices"]))
    assert told["energy_j"] == pytest.approx(2 * 100 * told["duration_s"], rel=0.05)
    assert told["intensity"]["kind"] == "estimated"
    assert told["emissions_g"] == pytest.approx(told["energy_j"] / 3.6e6 * 250 * 1.5)


def test_people_get_a_sentence_and_a_table_and_see_what_is_emulated(run: Run, settings: Settings) -> None:
    ran = run("measure", "--config", str(settings(PRICED)), "--for", "0.3s")
    assert (ran.code, ran.err) == (0, "")
    sentence, head, first, second, note = ran.out.splitlines()
    assert "Wh (emulated), 200 W on average" in sentence
    assert "CO2e at 250 g/kWh (estimated by mean for GB)" in sentence
    assert head.split() == ["DEVICE", "MODEL", "ENERGY", "POWER", "QUALITY", "NOT", "READ"]
    assert "EMULATED" in first
    assert second.startswith("gpu 1")
    assert note.startswith("emulated: these watts follow what the daemon's jobs do")


def test_without_any_meter_energy_is_unknown_with_the_refusals_and_the_command_runs(run: Run, tmp_path: Path) -> None:
    ran = run("measure", "--json", "--cpu-meter", "rapl", "--", "touch", "ran")
    told = answer(ran.out)
    assert ran.code == 0
    assert (tmp_path / "ran").exists()
    assert (told["energy_j"], told["emissions_g"], told["intensity"], told["devices"]) == (None, None, None, [])
    assert told["exit_code"] == 0
    assert told["reason"].startswith("no meter can be read")
    assert told["refusals"] != []
    assert all(f"not measured: {refusal}" in ran.err for refusal in told["refusals"])


def test_without_a_zone_energy_is_told_and_emissions_are_unknown(run: Run, cpu: FakeZone) -> None:
    told = answer(run("measure", "--json", "--meter", "none", "--for", "0.2s").out)
    assert [(each["kind"], each["quality"]) for each in told["devices"]] == [("cpu", "measured")]
    assert told["energy_j"] == 0.0
    assert told["emissions_g"] is None
    assert "greenrun does not guess where it is" in told["emissions_reason"]


def test_the_energy_is_that_between_start_and_end(run: Run, cpu: FakeZone) -> None:
    """The command itself lets the counter go on, by 50 J."""
    script = f"echo {round(1050 * 1e6)} > {cpu.folder}/energy_uj; sleep 0.3"
    told = answer(run("measure", "--json", "--meter", "none", "--", "sh", "-c", script).out)
    assert told["energy_j"] == pytest.approx(50.0, rel=1e-6)


def test_a_counter_that_jumps_makes_the_sum_unknown_and_says_so(run: Run, cpu: FakeZone) -> None:
    script = f"echo {round(9e9)} > {cpu.folder}/energy_uj; sleep 0.3"
    told = answer(run("measure", "--json", "--meter", "none", "--", "sh", "-c", script).out)
    assert (told["energy_j"], told["devices"][0]["quality"]) == (None, "unknown")
    assert "its counter began anew or jumped" in told["reason"]


PLUG = """
[devices.external.plug]
kind = "command"
command = ["sh", "-c", "date +%s%N | cut -c5-13 | awk '{printf \\"%.3f\\", $1 * 0.25}'"]
unit = "J"
every = "3s"
"""  # 250 W, by the clock in milliseconds


@pytest.mark.system
def test_a_meter_at_the_plug_is_told_and_not_added(run: Run, settings: Settings) -> None:
    told = answer(run("measure", "--config", str(settings(PRICED + PLUG)), "--json", "--", "sleep", "2").out)
    *gpus, plug = told["devices"]
    assert (plug["kind"], plug["in_total"], plug["quality"], plug["gap_s"]) == ("external", False, "measured", 0.0)
    assert plug["power_w"] == pytest.approx(250, rel=0.1)
    assert told["energy_j"] == pytest.approx(sum(each["energy_j"] for each in gpus))
    assert told["emissions_g"] == pytest.approx(told["energy_j"] / 3.6e6 * 250 * 1.5)


def children_of(process: "subprocess.Popen[str]") -> set[str]:
    """The names of a process's children, those that ended and were not waited for included."""
    names = set()
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            names.add(child.name())
    return names


@pytest.mark.system
def test_a_signal_at_the_end_has_no_answer_of_a_meter_at_the_plug_waited_for(settings: Settings) -> None:
    config = settings(PRICED + PLUG.replace('"3s"', '"30s"'))
    process = subprocess.Popen(
        [*COMMAND, "--config", str(config), "--json", "--", "echo", "ready"],
        stdout=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    until(lambda: "echo" not in children_of(process), "the command is over and waited for", 25)
    process.send_signal(signal.SIGTERM)  # once: another might find the interpreter on its way out, without its mask
    until(lambda: process.poll() is not None, "it ends without the answer that takes 30 s", 25)
    out, _ = process.communicate(timeout=HANGS_S)
    *gpus, plug = answer(out)["devices"]
    assert plug["energy_j"] is None
    assert all(each["energy_j"] is not None for each in gpus)
    assert process.returncode == 0


@pytest.mark.system
def test_a_command_that_cannot_be_run_is_told_of_at_once(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement, "READING_LIMIT_S", READING_LIMIT_S)
    config = settings(PRICED + PLUG.replace('"3s"', '"30s"'))
    with watching() as watch:
        assert run("measure", "--config", str(config), "--", "no-such-command").code == 127
    assert watch.seconds < 15


@pytest.mark.system
def test_a_meter_at_the_plug_that_never_answers_is_not_waited_for(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement, "READING_LIMIT_S", READING_LIMIT_S)
    broken = PLUG[: PLUG.index("command =")] + 'command = ["false"]\nunit = "J"\nevery = "30s"\n'
    with watching() as watch:
        told = answer(run("measure", "--config", str(settings(PRICED + broken)), "--json", "--", "true").out)
    assert watch.seconds < 15
    assert told["devices"][-1]["energy_j"] is None
    assert told["energy_j"] is not None
    assert (told["quality"], told["uncertainty_pct"]) == ("emulated", None)
    assert any("exit code 1" in note for note in told["notes"])


# the intensity

UNKNOWN_ZONE = {"zone": None, "provider": None, "rung": "none", "slots": []}


def forecast(now: datetime) -> dict[str, Any]:
    """What the daemon tells: 100 g/kWh in the half hour that is, 900 after it."""
    edges = [now + timedelta(minutes=minutes) for minutes in (-10, 20, 50)]
    slots = [
        {"start": start.isoformat(), "end": end.isoformat(), "g_per_kwh": value, "kind": "forecast"}
        for start, end, value in zip(edges, edges[1:], (100.0, 900.0), strict=False)
    ]
    return {"zone": "GB", "provider": "uk", "rung": "fresh", "slots": slots}


def test_the_daemon_tells_the_intensity_of_its_zone(run: Run, cpu: FakeZone, api: FakeApi) -> None:
    api.get("/v1/forecast", forecast(utc_now()))
    told = answer(run("measure", "--json", "--meter", "none", "--for", "0.2s").out)
    assert told["zone"] == "GB"
    assert told["intensity"].pop("g_per_kwh") == pytest.approx(100.0)
    assert told["intensity"] == {"kind": "forecast", "provider": "uk", "kinds": {"forecast": 1.0}, "signal": "average"}
    assert told["emissions_g"] == 0.0


def test_a_daemon_whose_answer_cannot_be_used_is_a_reason(run: Run, cpu: FakeZone, api: FakeApi) -> None:
    told = forecast(utc_now())
    api.get("/v1/forecast", {**told, "slots": [{**slot, "kind": "guessed"} for slot in told["slots"]]})
    ran = run("measure", "--json", "--meter", "none", "--for", "0.2s")
    assert (ran.err, answer(ran.out)["emissions_g"]) == ("", None)


def test_a_daemon_without_a_zone_leaves_emissions_unknown(run: Run, cpu: FakeZone, api: FakeApi) -> None:
    api.get("/v1/forecast", UNKNOWN_ZONE)
    told = answer(run("measure", "--json", "--meter", "none", "--for", "0.2s").out)
    assert (told["zone"], told["intensity"], told["emissions_g"]) == (None, None, None)


def test_a_daemon_that_tells_nothing_of_the_zone_leaves_the_sources(run: Run, settings: Settings, api: FakeApi) -> None:
    told = answer(run("measure", "--config", str(settings(PRICED)), "--json", "--for", "0.2s").out)
    assert api.asked != []
    assert told["intensity"]["provider"] == "mean"


def test_a_source_that_cannot_tell_is_a_reason(run: Run, settings: Settings) -> None:
    broken = PRICED.replace('kind = "static"\ng_per_kwh = 250', 'kind = "file"\npath = "missing.csv"')
    ran = run("measure", "--config", str(settings(broken)), "--json", "--", "sh", "-c", "exit 4")
    told = answer(ran.out)
    assert ran.code == 4
    assert (told["emissions_g"], told["intensity"], told["zone"]) == (None, None, "GB")
    assert "missing.csv" in told["emissions_reason"]


def test_a_slow_source_keeps_nobody_waiting(run: Run, cpu: FakeZone, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    monkeypatch.setattr(measurement, "INTENSITY_LIMIT_S", 0.1)
    monkeypatch.setattr(measurement.WindowIntensity, "ask", lambda self: free.wait(HANGS_S) and None)
    told = answer(run("measure", "--json", "--meter", "none", "--for", "0.2s").out)
    free.set()
    assert told["energy_j"] == 0.0
    assert told["intensity"] is None


# a command is as it would be without


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_the_exit_code_is_the_command_s_own(run: Run, script: str, code: int) -> None:
    ran = run("measure", *NOTHING, "--json", "--", "sh", "-c", script)
    assert (ran.code, answer(ran.out)["exit_code"]) == (code, code)


def test_what_cannot_be_executed_is_told_as_a_shell_does(run: Run, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("text")
    missing, plain = run("measure", *NOTHING, "--", "no-such-command"), run("measure", *NOTHING, "--", "./plain")
    assert (missing.code, plain.code) == (127, 126)
    assert missing.err.splitlines()[-1] == "error: there is no command 'no-such-command'; nothing was run"


@pytest.mark.parametrize("words", [("--output", "/dev/full"), ("--json",)])
def test_a_result_that_cannot_be_written_changes_nothing_of_how_the_command_ended(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *NOTHING, *words, "--", "sh", "-c", "exit 4"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=HANGS_S, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert "what was measured cannot be written (No space left on device); the command ran" in done.stderr


def test_output_is_the_command_s_own_and_the_summary_goes_to_stderr() -> None:
    done = measured(*NOTHING, "--", "sh", "-c", "echo out; echo err >&2; cat", given="in\n")
    assert done.stdout == "out\nin\n"
    assert done.stderr.splitlines()[0] == "err"
    assert "energy unknown: no meter is named" in done.stderr


def test_the_command_s_options_are_its_own() -> None:
    done = measured(*NOTHING, "sh", "-c", "echo $0 $1", "--json", "--for")
    assert done.stdout == "--json --for\n"


def test_json_may_go_to_a_file(tmp_path: Path) -> None:
    done = measured(*NOTHING, "--output", str(tmp_path / "energy.json"), "--", "echo", "out")
    assert done.stdout == "out\n"
    assert json.loads((tmp_path / "energy.json").read_text())["exit_code"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--for", "20"), "--for: '20' has no unit"),
        (("--for", "0s"), "--for: it must be longer than nothing"),
        (("--for", "2s", "--", "true"), "leave one out"),
        (
            ("--output", "/nonexistent/energy.json", "--", "true"),
            "--output: /nonexistent/energy.json cannot be written",
        ),
    ],
)
def test_bad_usage_is_a_sentence_and_runs_nothing(run: Run, words: tuple[str, ...], said: str) -> None:
    ran = run("measure", *words)
    assert ran.code == 2
    assert said in ran.err


def test_an_unknown_meter_is_refused_before_anything_runs(run: Run, tmp_path: Path) -> None:
    ran = run("measure", "--meter", "watts", "--", "touch", "ran")
    assert ran.code == 78
    assert "'watts' is not a meter" in ran.err
    assert not (tmp_path / "ran").exists()


# signals


def measured(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run it as a process of its own."""
    return subprocess.run(
        [*COMMAND, *words],
        input=given,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
        env=dict(os.environ),
    )


def ignoring_nothing() -> None:
    """Tests that run in the background were started to ignore what a terminal sends."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def signalled(number: int, *words: str) -> tuple[int, str, str]:
    """Start it, send it a signal once its command (or it itself) says so, and return how it ended."""
    process = subprocess.Popen(
        [*COMMAND, *NOTHING, "--json", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=dict(os.environ),
        preexec_fn=ignoring_nothing,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=HANGS_S)
    return process.returncode, out, err


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_is_passed_on_and_what_was_measured_is_told(number: signal.Signals) -> None:
    script = f"trap 'echo got; exit 7' {number.name.removeprefix('SIG')}; echo ready; while :; do sleep 0.05; done"
    code, out, _ = signalled(number, "--", "sh", "-c", script)
    assert code == 7
    assert out.splitlines()[0] == "got"
    assert answer(out)["exit_code"] == 7
    assert answer(out)["duration_s"] > 0


@pytest.mark.system
def test_ctrl_c_at_a_terminal_reaches_the_command_once() -> None:
    """The terminal sends it to the command as well as to greenrun."""
    script = "n=0; trap 'n=$((n+1))' INT; echo ready; for i in 1 2 3 4 5 6 7 8; do sleep 0.1; done; echo got $n; exit 5"
    own_terminal = (
        "import fcntl, os, sys, termios;fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    )
    words = [sys.executable, "-c", own_terminal, *COMMAND, *NOTHING, "--", "sh", "-c", script]
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        words, stdin=end, stdout=end, stderr=end, start_new_session=True, preexec_fn=ignoring_nothing
    )
    os.close(end)
    shown = read_until(terminal, b"ready")
    os.write(terminal, b"\x03")
    shown += read_until(terminal, b"energy unknown")
    assert exit_code(process) == 5
    os.close(terminal)
    assert b"got 1" in shown


def test_a_signal_that_comes_before_the_command_is_not_lost(tmp_path: Path) -> None:
    """Meters may take seconds to open, and the terminal sends its signal to those that are there."""
    code = (
        "import os, signal\nfrom greenrun.cli.foreground import held_signals, run_command\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "with held_signals():\n    os.kill(os.getpid(), signal.SIGINT); run_command(['touch', 'ran'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "SIGINT came before 'touch' was started; nothing was run" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.system
def test_a_signal_that_it_was_started_to_ignore_ends_nothing(tmp_path: Path) -> None:
    """As with nohup, when somebody logs out."""
    process = subprocess.Popen(
        ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *COMMAND, "--meter", "none", "--json", "--for", "1s"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "GREENRUN_DEVICES__POWERCAP": str(tmp_path / "none")},
    )  # fmt: skip
    assert process.stderr is not None
    assert "not measured: rapl" in process.stderr.readline()
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=HANGS_S)
    assert process.returncode == 0
    assert answer(out)["duration_s"] >= 1


@pytest.mark.system
def test_one_that_is_stopped_and_goes_on_measures_to_its_end(tmp_path: Path) -> None:
    """As with Ctrl-Z and fg."""
    process = subprocess.Popen(
        [*COMMAND, "--meter", "none", "--json", "--for", "2.5s"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "GREENRUN_DEVICES__POWERCAP": str(tmp_path / "none")},
    )  # fmt: skip
    assert process.stderr is not None
    assert "not measured: rapl" in process.stderr.readline()
    process.send_signal(signal.SIGSTOP)
    threading.Event().wait(1.3)
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=HANGS_S)
    assert process.returncode == 0
    assert answer(out)["duration_s"] > 2.4  # and no more than a busy machine adds


def test_how_a_command_ended_is_known_where_nobody_waits_for_children() -> None:
    code = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    words = [sys.executable, "-c", code, *COMMAND, *NOTHING, "--", "sh", "-c", "exit 4"]
    assert subprocess.run(words, capture_output=True, timeout=HANGS_S, check=False).returncode == 4


@pytest.mark.system
def test_what_reads_the_meters_holds_back_no_signal(cpu: FakeZone) -> None:
    """A command that it asks would otherwise be deaf to TERM."""
    look = (
        "import os, psutil\nfor each in psutil.Process(os.getppid()).children():\n    each.pid == os.getpid() or print("
    )
    look += "[line for line in open(f'/proc/{each.pid}/status') if line.startswith('SigBlk')])"
    done = measured("--meter", "none", "--", sys.executable, "-c", look)
    assert done.stdout == "['SigBlk:\\t0000000000000000\\n']\n"


def read_until(terminal: int, awaited: bytes) -> bytes:
    """Read what is shown up to some words; fail when they do not come."""
    shown = b""
    while awaited not in shown:
        assert select.select([terminal], [], [], HANGS_S)[0], shown
        shown += os.read(terminal, 4096)
    return shown


@pytest.mark.system
def test_a_command_that_a_signal_ends_is_told_too() -> None:
    code, out, _ = signalled(signal.SIGTERM, "--", "sh", "-c", "echo ready; exec sleep 30")
    assert (code, answer(out)["exit_code"]) == (143, 143)


@pytest.mark.system
@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        pytest.param(signal.SIGINT, (), 0, id="the end that was meant"),
        pytest.param(signal.SIGTERM, ("--for", "20s"), 143, id="too early"),
    ],
)
def test_a_while_may_be_ended_by_a_signal(number: int, words: tuple[str, ...], code: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--meter", "none", "--json", *words],  # the refusal of the CPU's meter tells that it has begun
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "GREENRUN_DEVICES__POWERCAP": str(tmp_path / "none")}, preexec_fn=ignoring_nothing,
    )  # fmt: skip
    assert process.stderr is not None
    assert "not measured: rapl" in process.stderr.readline()
    if not words:
        assert process.stderr.readline() == "measuring this machine until Ctrl-C\n"
    process.send_signal(number)
    out, told = process.communicate(timeout=HANGS_S)
    assert (process.returncode, "until Ctrl-C" in told) == (code, False)
    assert 0 < answer(out)["duration_s"] < 20


def test_it_loads_nothing_heavy_where_there_is_nothing_to_price() -> None:
    script = (
        "import sys; from greenrun.cli.app import main;"
        "main(['measure', '--meter', 'none', '--cpu-meter', 'none', 'true']);"
        "print([name for name in ('numpy', 'pydantic', 'httpx', 'sqlmodel', 'fastapi') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=HANGS_S, check=True)
    assert done.stdout == "[]\n"
