"""Ask systemd over D-Bus, each time with a time-out: to start, signal and stop units, and how they are.

The calls are few and their meaning matters: whether systemd has refused, or has only not been heard. Who was not heard
may have done what was asked.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType, message_bus, new_method_call
from jeepney.bus import get_bus
from jeepney.io.blocking import DBusConnectionBase, prep_socket

from greenrun.core.errors import ExecutorError, StartPostponed

TIMEOUT_S = 10.0  # systemd answers in milliseconds, unless the machine is overloaded or it reloads all of its units
PAUSE_S = 2.0  # before the bus is tried again that went away
PATH = "/org/freedesktop/systemd1"
_MANAGER = DBusAddress(PATH, "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager")
_EXISTS = ("org.freedesktop.systemd1.UnitExists",)
_NO_SUCH = ("org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.NoSuchProcess")

Property = tuple[str, tuple[str, Any]]


class NotHeard(ExecutorError):
    """systemd did not answer: what was asked may have been done, or not."""


class NotAsked(StartPostponed):
    """systemd could not be asked at all, so nothing was done."""


class Refused(ExecutorError):
    """systemd has said no; `name` is what D-Bus calls the error."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitState:
    """How a unit is; one that does not exist is `inactive`."""

    active: str
    sub: str = ""
    has_job: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether anything of it may be running, or is about to."""
        return self.has_job or self.active not in ("inactive", "failed")


class ServiceManager:
    """systemd, as seen from one thread at a time; the connection is made anew where it was lost."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._connection: _Connection | None = None

    def close(self) -> None:
        """Close the connection; harmless when repeated."""
        with self._lock:
            self._drop()

    def start_transient(self, name: str, properties: Sequence[Property]) -> bool:
        """Start a new unit; return whether there was none of this name. Raise NotAsked, NotHeard, Refused."""
        try:
            self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", (name, "fail", list(properties), []))
        except Refused as exc:
            if exc.name in _EXISTS:
                return False
            raise
        return True

    def state(self, name: str) -> UnitState:
        """Return how a unit is; raise ExecutorError if that cannot be told."""
        (rows,) = self._call("ListUnitsByNames", "as", ([name],))
        if not rows:
            return UnitState(active="inactive")
        _, _, _, active, sub, _, _, job, *_ = rows[0]
        return UnitState(active=active, sub=sub, has_job=bool(job))

    def main_pid(self, name: str) -> int:
        """Return the process number of a service's main process, 0 without one; raise ExecutorError."""
        return int(self._property(name, "MainPID"))

    def stop_timeout_s(self, name: str) -> float:
        """Return how long a service has between TERM and KILL, in s; raise ExecutorError."""
        return float(self._property(name, "TimeoutStopUSec")) / 1e6

    def age_s(self, name: str) -> float:
        """Return for how long a unit has been up, in s; raise ExecutorError."""
        since_us = int(self._property(name, "ActiveEnterTimestampMonotonic", "Unit"))
        return max(0.0, monotonic() - since_us / 1e6) if since_us else 0.0

    def signal_main(self, name: str, number: int) -> None:
        """Signal the main process of a unit, if it has one; raise ExecutorError."""
        self._unless_gone("KillUnit", "ssi", (name, "main", number))

    def stop(self, name: str) -> None:
        """Have a unit stopped as it was told to be, without waiting for that; raise ExecutorError."""
        self._unless_gone("StopUnit", "ss", (name, "replace"))

    def running(self, pattern: str) -> Sequence[tuple[str, str]]:
        """Return name and description of the units that may be running and have such names; raise ExecutorError."""
        states = ["active", "reloading", "activating", "deactivating"]
        (rows,) = self._call("ListUnitsByPatterns", "asas", (states, [pattern]))
        return [(row[0], row[1]) for row in rows]

    def version(self) -> str:
        """Return which systemd it is; raise ExecutorError."""
        reply = self._ask(_get(PATH, "org.freedesktop.systemd1.Manager", "Version"))
        return str(reply[0][1])

    def _property(self, name: str, key: str, interface: str = "Service") -> Any:
        path = f"{PATH}/unit/{_escaped(name)}"
        return self._ask(_get(path, f"org.freedesktop.systemd1.{interface}", key))[0][1]

    def _unless_gone(self, method: str, signature: str, body: tuple[Any, ...]) -> None:
        try:
            self._call(method, signature, body)
        except Refused as exc:
            if exc.name not in _NO_SUCH:
                raise

    def _call(self, method: str, signature: str, body: tuple[Any, ...]) -> tuple[Any, ...]:
        return self._ask(new_method_call(_MANAGER, method, signature, body))

    def _ask(self, message: Message) -> tuple[Any, ...]:
        with self._lock:
            if self._connection is None:
                self._connection = _connected(self._timeout_s)
            try:
                reply = self._connection.ask(message, self._timeout_s)
            except (OSError, ValueError) as exc:  # also a TimeoutError, and what is no D-Bus
                self._drop()
                what = message.header.fields[HeaderFields.member]
                raise NotHeard(f"systemd did not answer {what} ({exc or 'in time'}); greenrun asks again") from exc
        if reply.header.message_type is MessageType.error:
            name = str(reply.header.fields.get(HeaderFields.error_name, ""))
            if name in ("org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Timeout"):
                raise NotHeard(f"systemd did not answer ({name}); greenrun asks again")
            said = str(reply.body[0]) if reply.body else name
            raise Refused(f"systemd refused: {said}", name)
        body: tuple[Any, ...] = reply.body
        return body

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Connection(DBusConnectionBase):  # type: ignore[misc]
    """A connection whose every call has a limit, also the first one to the bus itself."""

    def ask(self, message: Message, limit_s: float) -> Message:
        """Send a call and return its answer; raise OSError, TimeoutError."""
        deadline = monotonic() + limit_s
        serial = next(self.outgoing_serial)
        self.sock.settimeout(limit_s)
        data, fds = self._serialise(message, serial)
        if fds:
            self._send_with_fds(data, fds)
        else:
            self.sock.sendall(data)
        while True:
            reply = self._receive(deadline)
            if reply.header.fields.get(HeaderFields.reply_serial, -1) == serial:
                return reply

    def next_signal(self, limit_s: float | None) -> Message:
        """Return the next message, whatever it is; raise OSError, TimeoutError."""
        self.sock.settimeout(None)
        message: Message = self._receive(None if limit_s is None else monotonic() + limit_s)
        return message


def _connected(limit_s: float) -> _Connection:
    """Connect to the bus of the system; raise NotAsked."""
    try:
        made = _Connection(prep_socket(get_bus("SYSTEM"), enable_fds=True, timeout=limit_s), enable_fds=True)
    except (OSError, ValueError, RuntimeError) as exc:
        raise NotAsked(
            f"the system bus cannot be reached ({exc}), so systemd was not asked; greenrun tries again"
        ) from exc
    try:
        made.ask(message_bus.Hello(), limit_s)
    except (OSError, ValueError) as exc:
        made.close()
        raise NotAsked(
            f"the system bus does not answer ({exc}), so systemd was not asked; greenrun tries again"
        ) from exc
    return made


def _get(path: str, interface: str, key: str) -> Message:
    address = DBusAddress(path, "org.freedesktop.systemd1", "org.freedesktop.DBus.Properties")
    return new_method_call(address, "Get", "ss", (interface, key))


def _escaped(name: str) -> str:
    """Return a unit's name as part of an object's path: what is neither letter nor digit as _ and two hex digits."""
    return "".join(sign if sign.isascii() and sign.isalnum() else f"_{ord(sign):02x}" for sign in name)


class UnitWatch:
    """A thread that calls `on_change` whenever a unit with such a name is gone; it must not block or raise.

    Without it the end of a run is seen at the next tick. It follows the bus when that comes back.
    """

    def __init__(self, prefix: str, on_change: Callable[[], None]) -> None:
        self._prefix, self._on_change = prefix, on_change
        self._closing = threading.Event()
        self._connection: _Connection | None = None
        self._thread = threading.Thread(target=self._watch, name="greenrun-units", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._closing.set()
        if (connection := self._connection) is not None:
            with suppress(OSError):
                connection.sock.shutdown(2)  # which wakes who waits for it
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        while not self._closing.is_set():
            with suppress(ExecutorError, OSError, ValueError):
                self._follow()
            self._closing.wait(PAUSE_S)

    def _follow(self) -> None:
        connection = self._connection = _connected(TIMEOUT_S)
        try:
            rule = MatchRule(type="signal", interface=_MANAGER.interface, member="UnitRemoved", path=PATH)
            connection.ask(message_bus.AddMatch(rule), TIMEOUT_S)
            connection.ask(new_method_call(_MANAGER, "Subscribe"), TIMEOUT_S)
            self._on_change()  # for what has ended meanwhile
            while not self._closing.is_set():
                message = connection.next_signal(None)
                if _is_end(message, self._prefix):
                    self._on_change()
        finally:
            self._connection = None
            connection.close()


def _is_end(message: Message, prefix: str) -> bool:
    is_signal = message.header.message_type is MessageType.signal
    is_removal = message.header.fields.get(HeaderFields.member) == "UnitRemoved"
    return bool(is_signal and is_removal and message.body and str(message.body[0]).startswith(prefix))
