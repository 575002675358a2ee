"""A command runs with the umask and the limits of who submitted it, as far as this machine lets it."""

import resource
import stat
import sys
from pathlib import Path

import pytest

from greenrun.executors.launch import environment, take_limits
from tests.executors.bench import Bench
from tests.patience import until

pytestmark = pytest.mark.system

SHOWS = "import resource, sys; print(*[resource.getrlimit(getattr(resource, 'RLIMIT_' + n)) for n in sys.argv[1:]])"


def limits_of(bench: Bench, names: str, **limits: str) -> str:
    status = bench.end(bench.start(sys.executable, "-c", SHOWS, *names.split(), limits=limits))
    assert status.exit_code == 0
    return Path(status.log or "").read_text()


@pytest.mark.parametrize(("umask", "mode"), [("027", 0o640), ("077", 0o600), ("000", 0o666)])
def test_files_are_made_with_the_submitters_umask_and_so_is_a_log_of_the_jobs_own(
    bench: Bench, umask: str, mode: int
) -> None:
    bench.end(bench.start("sh", "-c", "umask > shown; echo x > made", umask=umask, log="own.log"))
    modes = [stat.S_IMODE((bench.workdir / name).stat().st_mode) for name in ("made", "own.log")]
    assert (bench.file("shown").strip()[-3:], modes) == (umask, [mode, mode])


def test_without_a_umask_it_is_the_daemons(bench: Bench) -> None:
    status = bench.end(bench.start("sh", "-c", "umask"))
    own = Path("/proc/self/status").read_text().partition("Umask:\t")[2].split()[0]
    assert int(Path(status.log or "").read_text(), 8) == int(own, 8)


def test_soft_and_hard_limits_are_the_submitters(bench: Bench) -> None:
    told = limits_of(bench, "NOFILE CORE AS", nofile="100:200", core="0:0", **{"as": "9000000000:unlimited"})
    assert told == "(100, 200) (0, 0) (9000000000, -1)\n"


def test_without_limits_they_are_the_daemons(bench: Bench) -> None:
    assert limits_of(bench, "NOFILE") == f"{resource.getrlimit(resource.RLIMIT_NOFILE)}\n"


def test_a_command_that_its_memory_limit_leaves_no_room_for_says_how_it_ended(bench: Bench) -> None:
    status = bench.end(bench.start("sh", "-c", "echo ran", limits={"as": "65536:65536"}))
    assert status.exit_code != 0
    assert "ran" not in Path(status.log or "").read_text()


def test_a_hard_limit_that_cannot_be_raised_stays_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may raise any, so a kernel that refuses is played here."""
    now = {resource.RLIMIT_NOFILE: (64, 4096), resource.RLIMIT_CORE: (0, resource.RLIM_INFINITY)}

    def setrlimit(which: int, pair: tuple[int, int]) -> None:
        soft, hard = (n if n >= 0 else 2**63 for n in pair)
        most = now[which][1] if now[which][1] >= 0 else 2**63
        if hard > most or soft > hard:
            raise ValueError("not allowed to raise maximum limit")
        now[which] = pair

    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    monkeypatch.setattr(resource, "getrlimit", now.__getitem__)
    problems = take_limits({"nofile": "1024:unlimited", "core": "unlimited:unlimited"})
    assert problems == ["nofile is 1024 (hard: 4096), not 1024 (hard: unlimited)"]
    assert now == {resource.RLIMIT_NOFILE: (1024, 4096), resource.RLIMIT_CORE: (-1, -1)}
    assert take_limits({"nofile": "8192:8192"}) == ["nofile is 4096 (hard: 4096), not 8192 (hard: 8192)"]
    assert now[resource.RLIMIT_NOFILE] == (4096, 4096)


PRINTS = "import time\nprint('at once')\ntime.sleep(60)"


def test_what_a_python_job_prints_is_in_its_log_at_once(bench: Bench) -> None:
    run = bench.running(sys.executable, "-c", PRINTS)
    until(lambda: Path(bench.executor.poll(run).log or "").read_text() == "at once\n")
    bench.executor.stop(run, "test")
    assert bench.end(run).exit_code == 128 + 15


@pytest.mark.parametrize("given", ["", "x"])
def test_a_user_has_the_last_word_on_buffering(bench: Bench, tmp_path: Path, given: str) -> None:
    (tmp_path / "variables").write_text(f"PYTHONUNBUFFERED={given}\n")
    own = environment({"PYTHONUNBUFFERED": "1"}, {"PYTHONUNBUFFERED": given}, None, {})
    from_file = environment({"PYTHONUNBUFFERED": "1"}, {}, str(tmp_path / "variables"), {})
    assert [own, from_file, environment({"PYTHONUNBUFFERED": "1"}, {}, None, {"A": "b"})] == [
        {"PYTHONUNBUFFERED": given}, {"PYTHONUNBUFFERED": given}, {"PYTHONUNBUFFERED": "1", "A": "b"},
    ]  # fmt: skip
