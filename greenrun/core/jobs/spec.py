"""What a user may say of a job, field by field: its type, its default, its limits and its option."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

from greenrun.core.energy.gpu_parts import names_profile
from greenrun.core.energy.power_limit import PowerCap, parse_power_cap
from greenrun.core.jobs.declaration import Check, Description, Length, Option, Range, Trait
from greenrun.core.units import ABSURD_G_PER_KWH


class DurationSource(StrEnum):
    """Where a job's expected duration comes from."""

    GIVEN = "given"
    LEARNED = "learned"
    DEFAULT = "default"


class PowerSource(StrEnum):
    """Where a job's expected power comes from; NOMINAL is what its devices are said to draw, if they say."""

    GIVEN = "given"
    LEARNED = "learned"
    NOMINAL = "nominal"


class Anomaly(StrEnum):
    """A way in which a run can be unlike what was to be expected; `greenrun.core.jobs.runs.anomalies` has the rules."""

    GPU_IDLE = "gpu_idle"
    POWER_OFF = "power_off"
    STUCK = "stuck"


class Notice(StrEnum):
    """What a user can be told of a job through the hooks of the site."""

    STARTED = "started"
    ENDED = "ended"
    FAILED = "failed"
    LATE = "late"


class GpuIds(StrEnum):
    """In which form CUDA_VISIBLE_DEVICES names a job's GPUs; INDEX is for programs that take them for numbers."""

    UUID = "uuid"
    INDEX = "index"


class After(StrEnum):
    """How a job that another one waits for must have ended."""

    OK = "ok"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """The job waits until job `job_id` has ended: with success, or in any way."""

    job_id: int
    on: After = After.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayPlace:
    """A job's place in an array: `key` is the array's own, `at_once` how many of its jobs may run together."""

    key: str
    index: int
    size: int
    at_once: int | None = None


MOST_TOGETHER = 10_000  # jobs of one submission
LARGEST_INDEX = 1_000_000  # of a job in an array
CHECKPOINT_SIGNALS = ("USR1", "USR2", "HUP", "INT", "TERM")  # what a job may ask to be told to checkpoint by
LEAST_MEMORY_GIB = 1 / 16  # less would leave no room for the supervisor that tells how a job ended
LEAST_S, MOST_S = 0.001, 366 * 86_400.0  # of a duration
LIMITS = (  # what setrlimit(2) knows, by the names of /etc/security/limits.conf
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
)  # fmt: skip
MOST_COMMAND_BYTES = 128 * 1024
MOST_ENV_BYTES = 256 * 1024


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    try:
        value.encode()
    except ValueError:  # a lone surrogate stands for a byte that is no text
        raise ValueError(f"must be UTF-8, and {value!a} is not: rename what is called so") from None
    return value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must hold printable characters only")
    return value


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("must be an absolute path")
    return value


def _signal(value: str) -> str:
    name = value.strip().upper().removeprefix("SIG")
    if name not in CHECKPOINT_SIGNALS:
        raise ValueError(f"must be one of {', '.join(CHECKPOINT_SIGNALS)}")
    return name


def _runnable(words: Sequence[str]) -> Sequence[str]:
    if not words or not words[0]:
        raise ValueError("must name a program")
    if sum(len(word.encode()) + 1 for word in words) > MOST_COMMAND_BYTES:
        raise ValueError(f"must not be longer than {MOST_COMMAND_BYTES} bytes: put the arguments into a file")
    return words


def _environment(variables: Mapping[str, str]) -> Mapping[str, str]:
    for name in variables:
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"{name!r} cannot be the name of a variable")
    if sum(len(name.encode()) + len(text.encode()) + 2 for name, text in variables.items()) > MOST_ENV_BYTES:
        raise ValueError(f"must not be longer than {MOST_ENV_BYTES} bytes: name fewer variables")
    return variables


def _sorted(values: Sequence[int]) -> Sequence[int]:
    return tuple(sorted(set(values)))


def _umask(value: str) -> str:
    if not re.fullmatch(r"0?[0-7]{1,3}", value):
        raise ValueError("must be octal, like 022")
    return f"{int(value, 8):03o}"


def _image(value: str) -> str:
    if not value or value.startswith("-") or any(sign.isspace() for sign in value):
        raise ValueError("must be the name of an image, or the path of its file, without spaces and not like an option")
    return value


def _limits(values: Mapping[str, str]) -> Mapping[str, str]:
    for name, text in values.items():
        if name not in LIMITS:
            raise ValueError(f"{name!r} is no resource limit; there are {', '.join(LIMITS)}")
        if not re.fullmatch(r"(\d{1,19}|unlimited):(\d{1,19}|unlimited)", text):
            raise ValueError(f"the limit {name} must be SOFT:HARD, each a number or 'unlimited'")
        soft, hard = (math.inf if word == "unlimited" else int(word) for word in text.split(":"))
        if soft > hard:
            raise ValueError(f"the soft limit of {name} must not be above its hard limit")
    return dict(sorted(values.items()))


def _power_cap(value: str) -> str:
    return str(parse_power_cap(value))


def _distinct(values: Sequence[Anomaly]) -> Sequence[Anomaly]:
    return tuple(dict.fromkeys(values))


Word = Annotated[str, Check(_storable)]
Text = Annotated[str, Length(0, 200), Check(_printable)]
ExitCode = Annotated[int, Range(1, 255)]
Key = Annotated[str, Length(1, 64), Check(_printable)]
FilePath = Annotated[str, Length(1, 4096), Check(_storable)]


def title_of(name: str, command: Sequence[str]) -> str:
    """Return what a job is called: its given name, or the first words of its command."""
    return name or " ".join(command)[:40]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """The job as its user states it. Instants are aware UTC; `power_w` is for the whole job; ratios are 0-1.

    This is the one declaration of a job's fields: see `declaration.py` for what is made from it.

    An interruptible job may be checkpointed once it ran for `min_run` and continued in a later window, which takes it
    `restart_cost` longer, at its usual power. Its command ends with `checkpoint_exit_code` when it has checkpointed.

    `duration_note` and `power_note` say what a learned figure was learned from; they are None where none was.
    `power_cap_note` says where the slowdown of `power_cap` comes from; None where its user stated it.
    `stop_on` are the anomalies that it is to be stopped on, `notify` is what is told of it through the site's hooks.
    """

    command: Annotated[
        tuple[Word, ...],
        Length(0, 4096),
        Check(_runnable),
        Description("The program and its arguments; there is no shell."),
    ]
    gpus: Annotated[int, Range(0, 1024), Option(meaning="GPUs it needs; 0 for a CPU job", form="N", short="g")] = 1
    gpu_model: Annotated[Key | None, Option(meaning="The model of GPU it needs, like A100", form="MODEL")] = None
    gpu_memory_gib: Annotated[
        float | None,
        Range(0, 100_000, above=True),
        Option(meaning="The memory each GPU must have", more=": 40, 40GiB", form="GIB", name="gpu-memory"),
    ] = None
    shared: Annotated[
        bool,
        Option(
            meaning="A part of one GPU is enough",
            more=": a slot that shares it with other jobs, or a MIG instance",
        ),
    ] = False
    gpu_ids: Annotated[
        GpuIds | None,
        Option(
            meaning="How CUDA_VISIBLE_DEVICES names its GPUs: uuid or index",
            more=", for programs that take numbers",
            form="FORM",
            default="[jobs] gpu_ids",
        ),
    ] = None
    memory_gib: Annotated[
        float | None,
        Range(LEAST_MEMORY_GIB, 100_000),
        Option(
            meaning="The memory that it may use; with more it is ended",
            more=": 32, 32G, 32GiB",
            form="GIB",
            name="mem",
            default="[limits] memory",
        ),
    ] = None
    cpus: Annotated[
        float | None,
        Range(0.01, 4096),
        Option(meaning="How many CPUs it may use at once", more=": 4, 0.5", form="CPUS", default="[limits] cpus"),
    ] = None
    io_weight: Annotated[
        int | None,
        Range(1, 10_000),
        Option(
            meaning="Its share of a contended disk beside other jobs', which have 100",
            form="WEIGHT",
            default="[limits] io_weight",
        ),
    ] = None
    duration: Annotated[
        timedelta,
        Range(LEAST_S, MOST_S),
        Trait.MAY_BE_MISSING,
        Option(meaning="How long it is expected to run", more=", like 6h or 1h30m", form="D"),
    ]
    duration_source: Annotated[DurationSource, Trait.READ_ONLY] = DurationSource.GIVEN
    duration_note: Annotated[str | None, Trait.READ_ONLY] = None
    time_limit: Annotated[
        timedelta | None,
        Range(LEAST_S, MOST_S),
        Option(meaning="Stop it after this long, whatever happens", form="D"),
    ] = None
    finish_by: Annotated[
        datetime | None,
        Option(meaning="It must end by then", more=": 18:00, 'tomorrow 9am', 36h", form="T"),
    ] = None
    max_delay: Annotated[
        timedelta | None, Range(0, MOST_S), Option(meaning="Start at the latest this long after now", form="D")
    ] = None
    start_after: Annotated[datetime | None, Option(meaning="Do not start before then", form="T")] = None
    start_now: Annotated[bool, Option(meaning="Start as soon as GPUs are free; still measured", name="now")] = False
    expire: Annotated[bool, Option(meaning="Do not start it at all when its latest start is missed")] = False
    project: Annotated[Key, Option(meaning="The project that its energy is booked to", form="NAME")] = "default"
    name: Annotated[Text, Option(meaning="What to call it; else its command", form="NAME")] = ""
    labels: Annotated[
        Mapping[Key, Text], Length(0, 64), Option(meaning="A label", more="; may be repeated", form="K=V", name="label")
    ] = field(default_factory=dict)
    priority: Annotated[
        int,
        Range(-1000, 1000),
        Option(meaning="Of jobs that compete for GPUs the higher goes first, wherever limits allow", form="N"),
    ] = 0
    unique_key: Annotated[
        str | None,
        Length(1, 200),
        Check(_printable),
        Option(meaning="Submit it once only, however often this is repeated", form="KEY", name="unique"),
    ] = None
    power_w: Annotated[
        float | None,
        Range(0, 1_000_000, above=True),
        Option(meaning="The power it is expected to draw", more=", in watts", form="W", name="power"),
    ] = None
    power_note: Annotated[str | None, Trait.READ_ONLY] = None
    power_cap: Annotated[
        Key | None,
        Check(_power_cap),
        Option(
            meaning="What the power limit of its GPUs may be in dirty hours",
            more=": 70%, 210W, none; with :slowdown=8% and :above=mean, p75 or 300 (g/kWh) behind it",
            form="LIMIT",
            default="[gpu_power_limit] default",
        ),
    ] = None
    power_cap_note: Annotated[str | None, Trait.READ_ONLY] = None
    min_saving: Annotated[float | None, Range(0, 1), Option(meaning="Do not wait for a smaller saving", form="5%")] = (
        None
    )
    run_below_g_per_kwh: Annotated[
        float | None,
        Range(0, ABSURD_G_PER_KWH),
        Option(meaning="Start at once when the grid is below G g/kWh", form="G", name="run-below"),
    ] = None
    retries: Annotated[int, Range(0, 100), Option(meaning="Run it again after a failure, up to N times", form="N")] = 0
    retry_on: Annotated[
        tuple[ExitCode, ...],
        Length(0, 255),
        Check(_sorted),
        Option(
            meaning="Run it again on these exit codes only", more=", like 75 or 1,70-79; may be repeated", form="CODE"
        ),
    ] = ()
    grace: Annotated[
        timedelta, Range(0, 86_400), Option(meaning="Time from TERM to KILL when it is stopped", form="D")
    ] = timedelta(seconds=30)
    interruptible: Annotated[bool, Option(meaning="It can be checkpointed and continued later")] = False
    min_run: Annotated[
        timedelta,
        Range(0, MOST_S),
        Trait.INTERRUPTIBLE_ONLY,
        Option(meaning="Do not interrupt it sooner after a start", form="D"),
    ] = timedelta(minutes=30)
    restart_cost: Annotated[
        timedelta,
        Range(0, MOST_S),
        Trait.INTERRUPTIBLE_ONLY,
        Option(meaning="What continuing costs it", form="D"),
    ] = timedelta(minutes=5)
    checkpoint_signal: Annotated[
        str,
        Length(0, 20),
        Check(_signal),
        Trait.INTERRUPTIBLE_ONLY,
        Option(meaning="The signal that asks it to checkpoint", form="NAME"),
    ] = "USR1"
    checkpoint_exit_code: Annotated[
        int,
        Range(1, 125),
        Trait.INTERRUPTIBLE_ONLY,
        Option(meaning="What it ends with when it has checkpointed", form="N"),
    ] = 85
    after: Annotated[
        tuple[Dependency, ...],
        Length(0, MOST_TOGETHER),
        Option(meaning="Start once that job succeeded (any: ended)", more="; may be repeated", form="JOB[:ok|any]"),
    ] = ()
    array: Annotated[
        ArrayPlace | None,
        Trait.READ_ONLY,
        Option(meaning="One job per index, here 4 at once; also 1,3,5 and 0-20:5", form="0-9%4"),
    ] = None
    workdir: Annotated[
        FilePath, Check(_absolute), Option(meaning="The folder it runs in", form="DIR", default="this one")
    ]
    container: Annotated[
        Text | None,
        Check(_image),
        Option(
            meaning="Run it in a container of this image",
            more=", by podman or apptainer: a name, or the path of a file",
            form="IMAGE",
        ),
    ] = None
    env: Annotated[
        Mapping[str, Word],
        Length(0, 1024),
        Check(_environment),
        Trait.WRITE_ONLY,
        Option(meaning="A variable it gets", more="; may be repeated", form="NAME[=V]"),
    ] = field(default_factory=dict)
    env_file: Annotated[
        FilePath | None, Option(meaning="A file of NAME=value lines, read when it starts", form="FILE")
    ] = None
    umask: Annotated[
        Key | None,
        Check(_umask),
        Trait.WRITE_ONLY,
        Description("The umask it runs with, in octal: its submitter's. Without one, the daemon's."),
    ] = None
    limits: Annotated[
        Mapping[Key, Text],
        Length(0, len(LIMITS)),
        Check(_limits),
        Trait.WRITE_ONLY,
        Description(
            'Its resource limits, as {"nofile": "1024:4096"} (soft and hard): its submitter\'s; else the daemon\'s.'
        ),
    ] = field(default_factory=dict)
    log: Annotated[FilePath | None, Option(meaning="Where its output goes; else the run's own log", form="FILE")] = None
    git_commit: Annotated[Text | None, Description("The commit that its folder was at when it was submitted.")] = None
    noted_files: Annotated[
        Mapping[str, str],
        Trait.READ_ONLY,
        Description("Its own program and script as they were when it was submitted: size, time and checksum by path."),
    ] = field(default_factory=dict)
    stop_on: Annotated[
        tuple[Anomaly, ...],
        Length(0, len(Anomaly)),
        Check(_distinct),
        Option(meaning="Stop it when it is noticed to be gpu_idle, stuck or power_off", form="A,B"),
    ] = ()
    notify: Annotated[
        tuple[Notice, ...],
        Length(0, len(Notice)),
        Check(_distinct),
        Option(
            meaning="Tell of it through the site's hooks: when it has started, ended or failed, or will be or is late",
            form="A,B",
        ),
    ] = ()

    @property
    def title(self) -> str:
        """The given name, or the first words of the command."""
        return title_of(self.name, self.command)

    @property
    def takes_part(self) -> bool:
        """Whether it runs on a part of a board, whose other parts are others': a slot, or a MIG instance."""
        return self.shared or names_profile(self.gpu_model)

    @property
    def allowed_cap(self) -> PowerCap | None:
        """What the power limit of its GPUs may be in dirty hours; None if it may not be changed.

        That of a shared board is others' too.
        """
        cap = parse_power_cap(self.power_cap) if self.power_cap and self.gpus and not self.takes_part else None
        return None if cap is None or cap.is_none else cap

    @property
    def power_source(self) -> PowerSource:
        """Where the expected power comes from."""
        if self.power_w is None:
            return PowerSource.NOMINAL
        return PowerSource.LEARNED if self.power_note is not None else PowerSource.GIVEN
