"""Translate the options of `#SBATCH` lines: into greenrun's own, a note on what is harmless, or a refusal.

A demand that is not met would make the job run wrongly, so it is refused; docs/sbatch.md has the table.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from greenrun.core.errors import InputProblem
from greenrun.submission.job_options import Value

_SHORT = {
    "A": "account", "B": "extra-node-info", "C": "constraint", "D": "chdir", "F": "nodefile", "G": "gpus", "H": "hold",
    "J": "job-name", "L": "licenses", "M": "clusters", "N": "nodes", "O": "overcommit", "Q": "quiet", "S": "core-spec",
    "V": "version", "W": "wait", "a": "array", "b": "begin", "c": "cpus-per-task", "d": "dependency", "e": "error",
    "h": "help", "i": "input", "k": "no-kill", "m": "distribution", "n": "ntasks", "o": "output", "p": "partition",
    "q": "qos", "s": "oversubscribe", "t": "time", "v": "verbose", "w": "nodelist", "x": "exclude",
}  # fmt: skip
_FLAGS = frozenset({
    "contiguous", "exclusive", "get-user-env", "help", "hold", "ignore-pbs", "no-kill", "no-requeue", "overcommit",
    "oversubscribe", "parsable", "propagate", "quiet", "reboot", "requeue", "resv-ports", "spread-job", "stepmgr",
    "test-only", "use-min-nodes", "verbose", "version", "wait", "nice",
})  # fmt: skip
FLAGS = _FLAGS | {short for short, name in _SHORT.items() if name in _FLAGS}  # which have no word after them
_HARMLESS = frozenset({
    "acctg-freq", "comment", "contiguous", "core-spec", "cores-per-socket", "cpu-freq", "delay-boot", "distribution",
    "exclude", "extra", "extra-node-info", "get-user-env", "gid", "gpu-bind", "gpu-freq", "gres-flags", "help", "hint",
    "ignore-pbs", "kill-on-invalid-dep", "mail-type", "mail-user", "mcs-label", "mem-bind", "mincpus", "network",
    "nice", "no-kill", "nodelist", "overcommit", "oversubscribe", "parsable", "partition", "power", "prefer",
    "priority", "profile", "propagate", "qos", "quiet", "reboot", "reservation", "resv-ports", "segment",
    "sockets-per-node", "spread-job", "stepmgr", "switches", "thread-spec", "threads-per-core", "time-min", "tmp",
    "tres-bind", "tres-per-task", "use-min-nodes", "verbose", "version", "wait", "wait-all-nodes", "wckey",
})  # fmt: skip
_NOTES = {
    "exclusive": "other jobs may run beside it: greenrun gives GPUs to one job at a time, and nothing else",
    "wait": "not applied; `greenrun wait` waits for a job",
    "no-requeue": "",
}
_REFUSED = {
    "hold": "greenrun would not hold it; submit it without, then run greenrun hold",
    "test-only": "greenrun would submit it; use greenrun submit --dry-run instead, and take the line out",
    "constraint": "greenrun knows no features of nodes; ask for GPUs by --gpu-model or --gpu-memory instead",
    "licenses": "greenrun counts no licenses",
    "export-file": "greenrun does not read it; use --env-file instead",
    "clusters": "greenrun has this machine alone",
    "cluster-constraint": "greenrun has this machine alone",
    "nodefile": "greenrun has this machine alone",
    "container": "greenrun knows no OCI bundles; name an image by #GREENRUN --container",
    "bb": "greenrun has no burst buffers", "bbf": "greenrun has no burst buffers",
    "uid": "greenrun runs a job as the user who submits it",
    "gpus-per-socket": "greenrun does not tell sockets apart; ask for --gpus instead",
    "ntasks-per-gpu": "greenrun starts one process; start the others in the script, as torchrun does",
    "ntasks-per-socket": "greenrun starts one process; start the others in the script, as torchrun does",
    "ntasks-per-core": "greenrun starts one process; start the others in the script, as torchrun does",
    "hetjob": "greenrun has no jobs of several parts; submit each for itself",
}  # fmt: skip
_ONLY_WITHIN_LIMITS = 254  # an exit code to retry on that nothing ends with: only lost and interrupted runs are retried
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")
_LATER = re.compile(r"now\+(\d+)\s*(s|m|h|d|w)?[a-z]*")
_HOURS = {"midnight": "00:00", "noon": "12:00", "elevenses": "11:00", "fika": "15:00", "teatime": "16:00"}
_SIGNAL = re.compile(r"(?:[RB]+:)?(?P<name>[A-Za-z0-9]+)(?:@(?P<seconds>\d+))?")
_SIGNAL_NAMES = {"1": "HUP", "2": "INT", "10": "USR1", "12": "USR2", "15": "TERM"}
_SIGNAL_BEFORE_S = 60  # how long before the time limit Slurm sends it unless told otherwise
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)([KMGT])?B?", re.IGNORECASE)
_MIB = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}
_DEPENDENCIES = {"afterok": "ok", "afterany": "any"}
_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{2}(?:\d{2})?)(.*)")


@dataclass(slots=True, kw_only=True)
class Translation:
    """What the `#SBATCH` lines of a script mean here. `settled` are options that are stated elsewhere, and so win."""

    settled: Collection[str]
    values: dict[str, Value] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[InputProblem] = field(default_factory=list)

    def set(self, option: str, text: str, where: str) -> None:
        """State one of greenrun's options, unless it is stated elsewhere."""
        if option not in self.settled:
            self.values[option] = Value((text,), where)


class _Refused(Exception):
    """A demand cannot be met."""


def translate(stated: Iterable[tuple[str, str, str | None]], script: str, settled: Collection[str]) -> Translation:
    """Translate (place, option, text) of all lines, in order; of an option that is given twice the last counts."""
    found = Translation(settled=settled)
    options: dict[str, tuple[str, str]] = {}
    for where, name, text in stated:
        long = _long(name)
        if long is None:
            why = f"sbatch has no option {_shown(name)}{_meant(name)}"
            found.problems.append(InputProblem(field=where, message=why))
        else:
            options.pop(long, None)
            options[long] = (f"{where}: #SBATCH --{long}", (text or "").strip())
    for long, (where, text) in options.items():
        try:
            _apply(long, text, where, found)
        except _Refused as exc:
            found.problems.append(InputProblem(field=where, message=str(exc)))
    _apply_gpus(options, found)
    _apply_logs(options, found)
    _look_into(script, found)
    return found


def _long(name: str) -> str | None:
    """Return the long name of an option, which may be shortened to what no other begins with."""
    long = _SHORT.get(name, name)
    known = {*_HARMLESS, *_NOTES, *_REFUSED, *_APPLIED, *_GPUS, *_LOGS, *_SIZES}
    if long in known:
        return long
    longer = [each for each in known if len(long) > 1 and each.startswith(long)]
    return longer[0] if len(longer) == 1 else None


def _shown(name: str) -> str:
    return f"--{name}" if len(name) > 1 else f"-{name}"


def _meant(name: str) -> str:
    close = get_close_matches(name, [*_APPLIED, *_GPUS, *_LOGS, *_SIZES], n=1)
    return f"; did you mean --{close[0]}?" if close else ""


def _apply(long: str, text: str, where: str, found: Translation) -> None:
    if long in _REFUSED:
        raise _Refused(_REFUSED[long])
    if long in _APPLIED:
        _APPLIED[long](text, where, found)
    elif long in _SIZES:
        _SIZES[long](text, where, found)
    elif long not in (*_GPUS, *_LOGS):
        note = _NOTES.get(long, "has no counterpart here and is not applied")
        if note:
            found.notes.append(f"{where}{f'={text}' if text else ''}: {note}")


def _option(option: str) -> Callable[[str, str, Translation], None]:
    """Return what applies an option whose values are as greenrun's."""

    def apply(text: str, where: str, found: Translation) -> None:
        if not text:
            raise _Refused("needs a value")
        found.set(option, text, where)

    return apply


def _time(text: str, where: str, found: Translation) -> None:
    """Read minutes, M:S, H:M:S, D-H, D-H:M and D-H:M:S; 0 and UNLIMITED are no limit."""
    if text.upper() in ("UNLIMITED", "INFINITE", "0", "-1"):
        return
    read = _TIME.fullmatch(text)
    if not read:
        raise _Refused(f"'{text}' is not a time; write it like 90 (minutes), 12:00:00 or 1-12:00:00")
    parts = [int(part) for part in read.group("first", "second", "third") if part is not None]
    if read["days"] is None and len(parts) < 3:
        parts = [0, *parts]
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    found.set("time-limit", f"{int(read['days'] or 0)}d{hours}h{minutes}m{seconds}s", where)


def _instant(text: str) -> str:
    later = _LATER.fullmatch(text.lower())
    if later:
        return f"{later[1]}{later[2] or 's'}"
    date = _DATE.fullmatch(text)
    if date:
        year = date[3] if len(date[3]) == 4 else f"20{date[3]}"
        text = f"{year}-{date[1]:0>2}-{date[2]:0>2} {date[4].removeprefix('-')}"
    return " ".join(_HOURS.get(word.lower(), word) for word in re.sub(r"(?<=\d)T(?=\d)", " ", text).split())


def _begin(text: str, where: str, found: Translation) -> None:
    if text.lower() not in ("now", "today"):
        _option("start-after")(_instant(text), where, found)


def _deadline(text: str, where: str, found: Translation) -> None:
    """Slurm does not run a job that could not end by its deadline any more."""
    _option("finish-by")(_instant(text), where, found)
    if "finish-by" not in found.settled:
        found.set("expire", "true", where)


def _array(text: str, where: str, found: Translation) -> None:
    _option("array")(text, where, found)
    found.notes.append(f"{where}: its jobs get their index as GREENRUN_ARRAY_INDEX")


def _dependency(text: str, where: str, found: Translation) -> None:
    if "after" in found.settled:
        return
    if "?" in text:
        raise _Refused(
            "greenrun waits for all jobs, not for any one of several ('?'); name one, or separate them by ','"
        )
    ids: list[str] = []
    for part in text.split(","):
        kind, *jobs = part.strip().split(":")
        if kind not in _DEPENDENCIES:
            have = " and ".join(_DEPENDENCIES)
            raise _Refused(f"greenrun cannot wait for '{kind}' of other jobs, only for {have}; take the line out")
        if not jobs or not all(job.isascii() and job.isdigit() for job in jobs):
            raise _Refused(
                f"'{part}' names no jobs by their number; give it on the command line: greenrun submit --after 7"
            )
        ids += [f"{job}:{_DEPENDENCIES[kind]}" for job in jobs]
    found.values["after"] = Value(tuple(dict.fromkeys(ids)), where)


def _signal(text: str, where: str, found: Translation) -> None:
    """A signal before the time limit: the grace after TERM, or the signal by which an interruptible job checkpoints."""
    read = _SIGNAL.fullmatch(text)
    if not read:
        raise _Refused(f"'{text}' is not a signal; write it like USR1@120 or B:TERM@60")
    name = read["name"].upper().removeprefix("SIG")
    name, before_s = _SIGNAL_NAMES.get(name, name), int(read["seconds"] or _SIGNAL_BEFORE_S)
    if "interruptible" in found.settled:
        found.set("checkpoint-signal", name, where)
        how = f"it gets {name} when it is to checkpoint"
    elif name == "TERM":
        how = "it gets TERM"
    else:
        raise _Refused(
            f"greenrun sends {name} only to interruptible jobs, when they are to checkpoint: add "
            "#GREENRUN --interruptible, or have the script save its state on TERM, which comes at its time limit"
        )
    found.set("grace", f"{before_s}s", where)
    found.notes.append(
        f"{where}: {how}, at its time limit TERM and not before it, and then has {before_s} s until KILL"
    )


def _requeue(text: str, where: str, found: Translation) -> None:
    if "retries" in found.settled:
        return
    found.set("retries", "1", where)
    found.set("retry-on", str(_ONLY_WITHIN_LIMITS), where)
    found.notes.append(f"{where}: run again once if it is lost or the machine restarts, not after a failure of its own")


def _export(text: str, where: str, found: Translation) -> None:
    if text.upper() in ("ALL", "NONE", "NIL", ""):
        what = "only the variables that [jobs] env lists are passed on" if text.upper() == "ALL" else "not applied"
        found.notes.append(f"{where}={text}: {what}; name others with --env")
        return
    names = [name for name in text.split(",") if name.upper() not in ("ALL", "NONE", "NIL")]
    if "ALL" in text.upper().split(","):
        found.notes.append(f"{where}={text}: beside these, only the variables that [jobs] env lists are passed on")
    if "env" not in found.settled:
        found.values["env"] = Value(tuple(names), where)


def _input(text: str, where: str, found: Translation) -> None:
    if text not in ("/dev/null", "none", ""):
        raise _Refused("a job's standard input is empty here; read the file in the script")


def _one(what: str) -> Callable[[str, str, Translation], None]:
    def apply(text: str, where: str, found: Translation) -> None:
        least = text.partition("-")[0]
        if not least.isdigit():
            raise _Refused(f"'{text}' is not a number")
        if int(least) > 1:
            raise _Refused(f"greenrun {what}")

    return apply


def _cpus(text: str, where: str, found: Translation) -> None:
    if not text.isdigit():
        raise _Refused(f"'{text}' is not a number of CPUs")
    there = os.cpu_count() or 1
    if int(text) > there:
        raise _Refused(f"the job needs {text} CPUs and this machine has {there}")
    found.notes.append(f"{where}={text}: greenrun neither reserves CPUs nor limits a job to them without --cpus")


def _memory(text: str, where: str, found: Translation) -> None:
    read = _MEMORY.fullmatch(text)
    if not read:
        raise _Refused(f"'{text}' is not a size of memory; write it like 16G")
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    asked = float(read[1]) * _MIB[(read[2] or "M").upper()]
    if asked > there:
        raise _Refused(f"the job needs {asked / 1024:.1f} GiB of memory and this machine has {there / 1024:.1f} GiB")
    found.notes.append(f"{where}={text}: greenrun neither reserves memory nor limits a job to it without --mem")


def _open_mode(text: str, where: str, found: Translation) -> None:
    if text.lower().startswith("t"):
        found.notes.append(f"{where}={text}: output is appended to a log that is there already")


def _apply_gpus(options: Mapping[str, tuple[str, str]], found: Translation) -> None:
    """State how many GPUs of which model all lines ask for; they must agree."""
    asked: dict[str, list[tuple[str, str]]] = {"gpus": [], "gpu-model": []}
    for long in (name for name in _GPUS if name in options):
        where, text = options[long]
        try:
            model, count = _gres(text) if long == "gres" else _model_and_count(text)
        except _Refused as exc:
            found.problems.append(InputProblem(field=where, message=str(exc)))
            continue
        asked["gpus"] += [(count, where)] if count else []
        asked["gpu-model"] += [(model, where)] if model else []
    for option, values in asked.items():
        if values and option not in found.settled:
            text, where = values[0]
            if any(other != text for other, _ in values):
                why = f"contradicts {where}, which says {text}: leave one of the two out"
                found.problems.append(InputProblem(field=values[-1][1], message=why))
            found.set(option, text, where)
    if options and not asked["gpus"] and "gpus" not in found.settled and not found.problems:
        found.notes.append(
            "no #SBATCH line asks for GPUs, of which greenrun gives a job 1: --gpus 0 makes it a CPU job"
        )


def _gres(text: str) -> tuple[str, str]:
    """Read `gpu`, `gpu:2`, `gpu:a100:2`, with `(S:0-1)` behind; other resources are refused."""
    model, count = "", ""
    for part in filter(None, text.split(",")):
        kind, _, rest = re.sub(r"\(.*\)", "", part).partition(":")
        if kind == "none":
            continue
        if kind != "gpu":
            raise _Refused(f"greenrun has no resource '{kind}', only GPUs; take the line out if the job can do without")
        if count:
            raise _Refused("greenrun gives a job GPUs of one model; ask for one")
        model, count = _model_and_count(rest or "1")
    return model, count


def _model_and_count(text: str) -> tuple[str, str]:
    if "," in text:
        raise _Refused("greenrun gives a job GPUs of one model; ask for one")
    first, _, last = text.rpartition(":")
    model, count = (first, last) if last.isdigit() else (text, "1")
    if not re.fullmatch(r"[\w. +-]*", model) or not count.isascii():
        raise _Refused(f"'{text}' is not a number of GPUs; write it like 2 or a100:2")
    return model.replace("_", " "), str(int(count))


def _apply_logs(options: Mapping[str, tuple[str, str]], found: Translation) -> None:
    where, output = options.get("output", ("", ""))
    if output:
        found.set("log", output, where)
    error_where, error = options.get("error", ("", ""))
    if error and error != output:
        found.notes.append(f"{error_where}={error}: errors go into the same log as output")


def _look_into(script: str, found: Translation) -> None:
    """Note what the commands of a script expect of Slurm, and refuse an array whose jobs would all do the same."""
    names = sorted(set(re.findall(r"\bSLURM_[A-Z_]+", script)))
    index = next((name for name in names if name.startswith("SLURM_ARRAY_TASK_ID")), None)
    if index and "array" in found.values and "GREENRUN_ARRAY_INDEX" not in script:
        why = f"the script reads {index}, which is not set here; write ${{{index}:-$GREENRUN_ARRAY_INDEX}} for it"
        found.problems.append(InputProblem(field=found.values["array"].where, message=why))
    elif names := [name for name in names if name != index or "GREENRUN_ARRAY_INDEX" not in script]:
        found.notes.append(
            f"the script reads {', '.join(names)}, which greenrun does not set (docs/cli.md has what it sets)"
        )
    if re.search(r"^\s*srun\b", script, re.MULTILINE):
        found.notes.append("the script calls srun: without Slurm on this machine, or outside a job of its, that fails")


_GPUS = ("gpus", "gpus-per-node", "gpus-per-task", "gres")
_LOGS = ("output", "error")
_ONE_PROCESS = _one("starts one process: start the others in the script, as torchrun does, and ask for 1 here")
_SIZES: Mapping[str, Callable[[str, str, Translation], None]] = {
    "nodes": _one("has this machine alone: ask for 1 node"), "ntasks": _ONE_PROCESS, "ntasks-per-node": _ONE_PROCESS,
    "cpus-per-task": _cpus, "cpus-per-gpu": _cpus, "mem": _memory, "mem-per-cpu": _memory, "mem-per-gpu": _memory,
    "open-mode": _open_mode, "input": _input, "export": _export,
}  # fmt: skip
_APPLIED: Mapping[str, Callable[[str, str, Translation], None]] = {
    "account": _option("project"), "array": _array, "begin": _begin, "chdir": _option("workdir"), "deadline": _deadline,
    "dependency": _dependency, "job-name": _option("name"), "requeue": _requeue, "signal": _signal, "time": _time,
}  # fmt: skip
