"""What holds for every test: nothing leaves this machine, and no process is left behind."""

import atexit
import ctypes
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from ipaddress import ip_address
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.patience import until
from tests.sampling import EFFORT, SEED, left_out

TESTS = Path(__file__).parent
SHARED = TESTS.parents[1] / "shared"
PR_SET_CHILD_SUBREAPER = 36
MOST_WORKERS = 16
SYSTEM_TESTS = sorted(  # the modules that run the whole program: they take half of all processor time
    map(str, [*TESTS.glob("system/test_*.py"), *TESTS.glob("booted/test_*.py"), *TESTS.rglob("test_demo_system.py")])
)
SYSTEM_PART = 1 / 4  # of them a run on a user's machine tries, unless tests are named or selected
OWN_VARIABLES = ("GREENRUN_TEST_SEED", "GREENRUN_TEST_EFFORT", "GREENRUN_TEST_LONG", "GREENRUN_REQUIRE_ALL")
CHUNK = re.compile(r"[\[-]chunk\d")  # in the name of a test: see IN_CHUNKS in tests/engine/crashes.py
END_LIMIT_S = 5.0  # what is ending by itself may take so long


def require(wanted: str | Path, why: str = "") -> Path:
    """Return where a tool (by name) or a file is; skip the test without it, or fail where everything must run."""
    found = str(wanted) if isinstance(wanted, Path) and wanted.exists() else shutil.which(str(wanted))
    if found:
        return Path(found)
    return absent(f"{wanted} is not here" + (f": {why}" if why else ""))


def absent(reason: str) -> NoReturn:
    """Skip the test for want of something; fail instead where GREENRUN_REQUIRE_ALL says that nothing may be wanting."""
    if os.environ.get("GREENRUN_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Live where nobody else does, and let hypothesis draw by the same seed as everything else on every worker."""
    _move_home()
    if config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(SEED)
    if hasattr(config, "workerinput"):
        config.option.left_out = config.workerinput["left_out"]
    else:
        named = config.args_source is pytest.Config.ArgsSource.ARGS or config.option.keyword or config.option.markexpr
        config.option.left_out = [] if named else left_out(SYSTEM_TESTS, "system tests", user=SYSTEM_PART)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let every worker of xdist leave out the same: it has the names of all folders, and cannot tell who named them."""
    node.workerinput["left_out"] = node.config.option.left_out


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what this run does not try."""
    return True if str(collection_path) in config.option.left_out else None


def _move_home() -> None:
    """Let no test find settings, a database or a running daemon of whoever runs it."""
    home = TemporaryDirectory(prefix="greenrun-home-")
    atexit.register(home.cleanup)
    for name in [name for name in os.environ if name.startswith(("GREENRUN_", "XDG_")) and name not in OWN_VARIABLES]:
        del os.environ[name]
    os.environ |= {"HOME": home.name, "XDG_RUNTIME_DIR": home.name}


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to repeat this run, and what it leaves out."""
    return _repeat(config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say so at the end too, where somebody looks who reads a long log."""
    terminalreporter.write_line(_repeat(config))


def _repeat(config: pytest.Config) -> str:
    said = f"seed {SEED}, effort {EFFORT.name.lower()} (GREENRUN_TEST_SEED={SEED} draws the same again)"
    if not config.option.left_out:
        return said
    tried = len(SYSTEM_TESTS) - len(config.option.left_out)
    return f"{said}; {tried} of {len(SYSTEM_TESTS)} modules of system tests (`make test-system` tries all)"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return a worker for every core that this process may use, and two more: many tests wait for other processes."""
    return min(len(os.sched_getaffinity(0)) + 2, MOST_WORKERS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Let one worker run a module, so that what it shares is made once; the chunks of a long loop go to several."""
    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


class Scheduling(LoadFileScheduling):
    """Deals out modules in their order, and chunks."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if CHUNK.search(nodeid) else super()._split_scope(nodeid)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the modules that take long evenly: others compute while they wait, and none of them is left for last.

    A worker of xdist takes the next module of the list when it has done with one.
    """
    modules: dict[Path, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.path, []).append(item)
    long = [module for module in modules.values() if any(map(_takes_long, module))]
    quick = iter([module for module in modules.values() if not any(map(_takes_long, module))])
    gap = (len(modules) - len(long)) // (len(long) + 1)
    spread = [*chain.from_iterable([module, *islice(quick, gap)] for module in long), *quick]
    items[:] = chain.from_iterable(spread)


def _takes_long(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("slow", "system"))


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Let sockets of this process reach this machine alone."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        patch.setattr(socket, "getaddrinfo", _guarded_look_up(socket.getaddrinfo))
        yield


def _guarded(connect: Any) -> Any:
    def only_here(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
            raise AssertionError(f"a test tried to reach {address} over the network")
        return connect(self, address)

    return only_here


def _guarded_look_up(look_up: Any) -> Any:
    def only_here(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host and not _is_here(host):
            raise AssertionError(f"a test tried to look up {host!r} on the network")
        return look_up(host, *args, **kwargs)

    return only_here


def _is_here(host: str | bytes) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name == "localhost":
        return True
    try:
        return ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def _quick_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let a new store begin as a copy of one that was migrated once, and let none in this process wait for the disk.

    Migrating takes 50 ms and a commit several. No test takes this machine's power away; of a process that is killed,
    the system keeps what was committed.
    """
    if "greenrun.store" not in sys.modules:  # no test that was collected opens one
        yield
        return
    store, database = import_module("greenrun.store"), import_module("greenrun.store.database")
    migrate, create = store.migrate, database.create
    template = tmp_path_factory.mktemp("template") / "greenrun.db"
    migrate(template)
    migrated = template.read_bytes()

    def copied(path: Path) -> None:
        if not path.exists():
            create(path)
            path.write_bytes(migrated)
        migrate(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "migrate", copied)
        patch.setattr(database, "SYNCHRONOUS", "OFF")
        _share_statements(patch, database)
        yield


def _share_statements(patch: pytest.MonkeyPatch, database: Any) -> None:
    """Let all stores of this process compile a statement once: most live for some ticks and would do it all again.

    SQLAlchemy keeps what it has compiled by dialect and statement, and each engine has a dialect of its own.
    """
    connect, dialect, compiled = database.connect, import_module("sqlalchemy.dialects.sqlite.pysqlite").dialect, {}
    patch.setattr(dialect, "__eq__", lambda self, other: type(self) is type(other), raising=False)
    patch.setattr(dialect, "__hash__", lambda self: hash(type(self)), raising=False)

    def sharing(path: Path, **options: Any) -> Any:
        engine = connect(path, **options)
        if engine._compiled_cache is not None:
            engine._compiled_cache = compiled.setdefault("cache", engine._compiled_cache)
        return engine

    patch.setattr(database, "connect", sharing)


@pytest.fixture(autouse=True, scope="session")
def _adopt_orphans() -> None:
    """Become the parent of what a test's own children leave, so that it can be found."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.fixture(autouse=True)
def _nothing_left_running(_adopt_orphans: None) -> Iterator[None]:
    """Fail a test that leaves a process behind, and end the process."""
    before = children()
    yield
    with suppress(AssertionError):
        until(lambda: not _live(children() - before), limit_s=END_LIMIT_S)
    left = _live(children() - before)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    _collect(children() - before)
    assert left == {}, "processes were left running"


def children() -> set[int]:
    """Return the process's children, orphans that it adopted included."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for task in tasks for pid in _text(task).split()}


def _live(pids: set[int]) -> dict[int, str]:
    """Return the command lines of those that have not ended."""
    stats = {pid: _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split() for pid in pids}
    live = [pid for pid, stat in stats.items() if stat and stat[0] not in "ZX"]
    return {pid: _text(Path(f"/proc/{pid}/cmdline")).replace("\0", " ").strip() for pid in live}


def _collect(pids: set[int]) -> None:
    """Let the kernel forget ended orphans."""
    for pid in pids:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            continue


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
