"""In a booted systemd: the service of a machine as it is installed, with two users who try what is not theirs."""

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event

import pytest

from tests.patience import HANGS_S, until
from tests.sampling import sampled

USERS_HERE = ("alice", "bob", "carol")
GREENRUN = "/opt/greenrun/bin/greenrun"
SOCKET, USERS = Path("/run/greenrun/greenrun.sock"), Path("/var/lib/greenrun/users")
CONFIG = Path("/etc/greenrun/greenrun.toml")
LOOK = "for n in 0 1; do cat /dev/nvidia$n; done 2>&1; true"


def run(*words: str, user: str = "root", code: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run a command as a user in this user's home."""
    home = pwd.getpwnam(user).pw_dir
    env = {"PATH": "/opt/greenrun/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "USER": user, "LANG": "C.UTF-8"}
    switch = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user != "root" else []
    done = subprocess.run(
        [*switch, *words], env=env, cwd=home if user in USERS_HERE else "/", stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=HANGS_S, check=False,
    )  # fmt: skip
    assert code is None or done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    return done


def submit(user: str, *words: str, script: str) -> int:
    done = run(GREENRUN, "submit", "--now", "--json", *words, "--", "sh", "-c", script, user=user)
    return int(json.loads(done.stdout)["id"])


def job(number: int) -> dict[str, object]:
    return dict(json.loads(run(GREENRUN, "show", "--json", str(number)).stdout))


def wait_for(number: int, *states: str) -> dict[str, object]:
    return until(lambda: found if (found := job(number))["state"] in states else None, f"job {number} is {states}")


def log_of(user: str, number: int) -> str:
    return run(GREENRUN, "logs", str(number), user=user).stdout


def main_pid() -> int:
    return int(run("systemctl", "show", "--property=MainPID", "--value", "greenrun").stdout)


def units() -> Sequence[str]:
    listed = run("systemctl", "list-units", "--plain", "--no-legend", "greenrun-run-*").stdout
    return [line.split()[0] for line in listed.splitlines()]


def kill_daemon() -> None:
    """Kill the daemon as nothing can be caught, and wait for the next one."""
    before = main_pid()
    os.kill(before, 9)
    until(lambda: main_pid() not in (0, before), "systemd has started it again")
    until(lambda: run(GREENRUN, "list", code=None).returncode == 0, "it answers again")


@pytest.fixture(scope="module", autouse=True)
def service() -> None:
    """The daemon, installed by the commands of docs/system-mode.md."""
    Path(GREENRUN).parent.mkdir(parents=True)
    Path(GREENRUN).symlink_to(Path(sys.prefix) / "bin" / "greenrun")
    run(GREENRUN, "init", "--system", "--zone", "none", "--emulated-gpus", "2", "--yes")
    with CONFIG.open("a") as file:
        file.write('\n[api]\nmetrics = ""\n\n[planner]\ntick = "1s"\n')
    run("systemd-sysusers")
    run("systemd-tmpfiles", "--create", "greenrun.conf")
    run("systemctl", "daemon-reload")
    for user in ("alice", "bob"):
        run("usermod", "--append", "--groups", "greenrun", user)
    run("systemctl", "reload-or-restart", "dbus")
    done = run("systemctl", "start", "greenrun", code=None)
    assert done.returncode == 0, run("systemctl", "status", "--no-pager", "--full", "greenrun", code=None).stdout


def test_its_socket_is_for_the_group_alone() -> None:
    found = SOCKET.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o660, 0)
    assert run("stat", "--format=%G", str(SOCKET)).stdout == "greenrun\n"
    run(GREENRUN, "list", user="alice")
    outsider = run(GREENRUN, "list", user="carol", code=None)
    assert outsider.returncode != 0
    assert "ermission" in outsider.stderr


def test_what_root_keeps_is_roots_alone() -> None:
    for path in ("/var/lib/greenrun/greenrun.db", "/var/lib/greenrun/runs", "/run/greenrun/locks"):
        for look in (["cat", path], ["ls", path], ["touch", f"{path}/x"]):
            assert run(*look, user="alice", code=None).returncode != 0 or (look[0] == "ls" and Path(path).is_file())


def test_each_job_runs_as_its_user_with_its_gpu_alone() -> None:
    mine = submit("alice", "--gpus", "1", script=f"id --user --name; {LOOK}; while [ ! -e go ]; do sleep 0.05; done")
    wait_for(mine, "running")
    others = submit("bob", "--gpus", "1", script=f"id --user --name; {LOOK}")
    wait_for(others, "succeeded")
    run("touch", "go", user="alice")
    wait_for(mine, "succeeded")
    no_driver, refused = "No such device or address", "Operation not permitted"
    told = [
        [line.rpartition(": ")[2] for line in log_of(*who).splitlines()] for who in (("alice", mine), ("bob", others))
    ]
    assert told == [["alice", no_driver, refused], ["bob", refused, no_driver]]


def test_what_is_anothers_cannot_be_read_or_changed() -> None:
    secret = "echo topsecret; sleep 600 # topsecret"
    mine = submit("alice", "--gpus", "0", "--env", "KEY=topsecret", script=secret)
    wait_for(mine, "running")
    (unit,) = units()
    folder = USERS / str(pwd.getpwnam("alice").pw_uid)
    refused = [
        [GREENRUN, "logs", str(mine)], [GREENRUN, "cancel", str(mine)], [GREENRUN, "hold", str(mine)],
        [GREENRUN, "edit", str(mine), "--name", "x"], ["ls", str(folder)], ["cat", f"{folder}/runs/{mine}.1/log"],
        ["systemctl", "stop", unit], ["systemctl", "kill", unit], ["systemctl", "set-property", unit, "CPUWeight=1"],
        ["busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
         "GetUnitProcesses", "s", unit],
        ["busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
         "KillUnit", "ssi", unit, "all", "9"],
    ]  # fmt: skip
    for words in refused:
        done = run(*words, user="bob", code=None)
        assert done.returncode != 0, words
        assert "topsecret" not in done.stdout + done.stderr
    seen = submit("bob", "--gpus", "0", script="for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done")
    wait_for(seen, "succeeded")
    assert "topsecret" not in log_of("bob", seen)
    told = run("systemctl", "show", unit, user="bob").stdout + run("systemctl", "status", unit, user="bob").stdout
    assert "topsecret" not in told
    assert job(mine)["state"] == "running"
    run(GREENRUN, "cancel", str(mine), user="alice")
    wait_for(mine, "cancelled")


def test_nobody_runs_as_another_by_saying_so() -> None:
    """Whatever a request names, the kernel's word for who sent it is what counts."""
    body = '{"jobs": [{"command": ["id", "-un"], "workdir": "/", "gpus": 0, "user": "root", "uid": 0}]}'
    words = ["curl", "-sS", "--unix-socket", str(SOCKET), "-H", "content-type: application/json", "-H", "x-user: root",
             "--data", body, "http://localhost/v1/jobs"]  # fmt: skip
    if shutil.which("curl"):
        assert '"id"' not in run(*words, user="bob", code=None).stdout
    plain = submit("bob", "--gpus", "0", "--env", "USER=root", "--env", "LOGNAME=root", script="id --user --name")
    wait_for(plain, "succeeded")
    assert log_of("bob", plain) == "bob\n"


FLOOD = """
import array, os, socket, sys
path = sys.argv[1]
def call(data, *descriptors):
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(60)
        door.connect(path)
        try:
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            door.sendmsg([data[:1000]], passed)
            door.sendall(data[1000:])
            return door.recv(100)
        except ConnectionError as error:
            return str(error).encode()
head = b"POST /v1/jobs HTTP/1.1\\r\\nhost: x\\r\\ncontent-type: application/json\\r\\n"
passed = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]
for _ in range(20):
    told = call(b"GET /v1/jobs HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n", *passed)
    assert b" 200 " in told, told
body = b"[" * 200_000 + b"]" * 200_000
told = call(head + b"content-length: %d\\r\\n\\r\\n" % len(body) + body)
assert b" 4" in told[:20], told
told = call(head + b"content-length: 99999999999\\r\\n\\r\\n" + b"[" * 1000)
assert b" 413 " in told, told
"""


def test_descriptors_and_requests_of_any_size_leave_the_daemon_as_it_is() -> None:
    """Descriptors that are passed over the socket are closed, and what is too large or too deep is refused."""
    descriptors = Path(f"/proc/{main_pid()}/fd")
    before = len(list(descriptors.iterdir()))
    run(sys.executable, "-c", FLOOD, str(SOCKET), user="bob")
    until(lambda: len(list(descriptors.iterdir())) <= before + 10, "descriptors are closed again")
    run(GREENRUN, "list", user="alice")


def test_what_a_user_may_not_ask_of_systemd_or_see_of_the_daemon() -> None:
    daemon = main_pid()
    systemd = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    refused = [
        ["systemctl", "stop", "greenrun"], ["systemctl", "reload", "greenrun"], ["systemctl", "kill", "greenrun"],
        ["systemctl", "restart", "greenrun.slice"], ["systemctl", "set-property", "greenrun.slice", "CPUWeight=1"],
        ["systemd-run", "--unit=greenrun-run-0123", "--slice=greenrun.slice", "true"],
        ["systemd-run", "--unit=greenrun-user-0", "true"], ["systemctl", "set-environment", "LD_PRELOAD=/tmp/x.so"],
        ["busctl", "call", *systemd, "StartTransientUnit", "ssa(sv)a(sa(sv))", "greenrun-run-0.service", "fail",
         "0", "0"],
        ["sh", "-c", f"kill -HUP {daemon}"], ["cat", f"/proc/{daemon}/environ"], ["cat", f"/proc/{daemon}/maps"],
        ["ls", f"/proc/{daemon}/fd/"], ["ls", f"/proc/{daemon}/cwd/"], ["touch", "/run/greenrun/locks/x"],
        ["mv", str(SOCKET), f"{SOCKET}.x"], ["mkdir", str(USERS / "0")], ["rm", "-r", str(USERS)],
    ]  # fmt: skip
    for words in refused:
        assert run(*words, user="bob", code=None).returncode != 0, words
    assert main_pid() == daemon


def test_a_limit_that_nothing_would_keep_is_refused() -> None:
    controllers = Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    for option, controller in (("--mem=1G", "memory"), ("--cpus=1", "cpu"), ("--io-weight=50", "io")):
        done = run(GREENRUN, "submit", "--gpus=0", option, "--now", "--", "true", user="alice", code=None)
        assert (done.returncode == 0) == (controller in controllers), done.stderr
        assert controller in controllers or f"the controller {controller} is not in the control groups" in done.stderr


def test_a_log_that_is_a_link_to_a_file_of_roots_is_not_written() -> None:
    target = Path("/var/lib/misc/roots.log")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("roots\n")
    run("ln", "-s", str(target), "out.log", user="alice")
    refused = run(GREENRUN, "submit", "--gpus", "0", "--log", "out.log", "--", "echo", "x", user="alice", code=None)
    assert refused.returncode != 0
    later = submit("alice", "--gpus", "0", "--log", "later.log", script="echo x")
    wait_for(later, "succeeded")
    log = Path(pwd.getpwnam("alice").pw_dir) / "later.log"
    assert (log.read_text(), log.stat().st_uid) == ("x\n", pwd.getpwnam("alice").pw_uid)
    run("sh", "-c", f"rm later.log; ln -s {target} later.log", user="alice")
    assert run(GREENRUN, "logs", str(later), user="alice").stdout == "roots\n"  # which all may read
    target.chmod(0o600)
    assert "roots" not in run(GREENRUN, "logs", str(later), user="alice", code=None).stdout
    assert "roots" not in run(GREENRUN, "logs", str(later), code=None).stdout  # nor does it lead root there
    assert target.read_text() == "roots\n"


def test_killed_daemons_leave_units_and_true_exit_codes() -> None:
    """Of jobs that are submitted while the daemon is killed again and again, each runs once and ends as it did."""
    rounds = sampled(range(100), "daemons killed in system mode", user=2, ci=3)  # which says how late each is killed
    codes = {}
    for number in rounds:
        for user in ("alice", "bob"):
            script = f"echo x >>ran-{number}; sleep 2; exit {10 + number % 50}"
            codes[submit(user, "--gpus", "1", script=script)] = 10 + number % 50
        Event().wait(number / 100)  # from before the claim of the first to while both run
        kill_daemon()
    ended = {number: wait_for(number, "failed", "succeeded") for number in codes}
    assert {number: row["runs"][-1]["exit_code"] for number, row in ended.items()} == codes
    started = [sum(run["started_at"] is not None for run in row["runs"]) for row in ended.values()]
    assert started == [1] * len(codes)  # one that was claimed just before a kill may have another claim before
    for user in ("alice", "bob"):
        home = Path(pwd.getpwnam(user).pw_dir)
        assert [(home / f"ran-{number}").read_text() for number in rounds] == ["x\n"] * len(rounds)


def test_jobs_go_on_while_the_service_is_stopped() -> None:
    mine = submit("alice", "--gpus", "1", script="while [ ! -e stopped ]; do sleep 0.05; done; exit 5")
    wait_for(mine, "running")
    run("systemctl", "stop", "greenrun")
    (unit,) = units()
    assert run("systemctl", "is-active", unit).stdout == "active\n"
    run("touch", "stopped", user="alice")
    until(lambda: not units(), "it has ended by itself")
    run("systemctl", "start", "greenrun")
    ended = wait_for(mine, "failed")
    assert ended["runs"][-1]["exit_code"] == 5


def test_a_hook_is_told_in_the_daemons_sandbox_and_nothing_of_it_is_left() -> None:
    said, script = Path("/var/lib/greenrun/hook-said"), Path("/usr/local/sbin/hook")
    hide = f"setsid env -i sh -c 'echo $$ >{said}; exec sleep 1000' >/dev/null 2>&1 </dev/null"
    script.write_text(f"#!/bin/sh\n({hide} &)\nwhile [ ! -s {said} ]; do sleep 0.02; done\ncat >{said}.json\n")
    script.chmod(0o755)
    before = CONFIG.read_text()
    CONFIG.write_text(
        f'{before}\n[notify.script]\nkind = "command"\nevents = ["ended"]\njobs = "all"\ncommand = ["{script}"]\n'
    )
    run("systemctl", "reload", "greenrun")
    until(lambda: run(GREENRUN, "list", user="alice", code=None).returncode == 0, "it answers again")
    mine = submit("alice", "--gpus", "0", script="exit 3")
    wait_for(mine, "failed")
    until(lambda: (Path(f"{said}.json").exists() and f'"id":{mine}' in Path(f"{said}.json").read_text()) or None)
    until(lambda: not Path(f"/proc/{said.read_text().strip()}").exists(), "what it left is gone")
    CONFIG.write_text(before)


def test_a_reload_takes_all_settings_or_none() -> None:
    def status() -> str:
        return run("systemctl", "show", "--property=StatusText", "--value", "greenrun").stdout

    text = CONFIG.read_text()
    CONFIG.write_text(f"{text}\n[jobs]\nmax_queued = 0\n")
    run("systemctl", "reload", "greenrun")
    until(lambda: "not taken" in status() and "jobs.max_queued" in status())
    assert run(GREENRUN, "list", user="alice").returncode == 0
    CONFIG.write_text(f"{text}\n[jobs]\nmax_queued = 7\n")
    before = main_pid()
    run("systemctl", "reload", "greenrun")
    until(lambda: "read again" in status())
    until(lambda: run(GREENRUN, "list", user="alice", code=None).returncode == 0, "it answers again")
    assert main_pid() == before
