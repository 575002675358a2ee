"""Jobs as people name them: `12`, `1-9,12`, `train`, `sweep[3]`, `sweep[1-5]`, `17[]`, filters; and which are meant.

A number is one job, always. What names several takes those for which the order is possible. A name, or a filter, means
jobs of the caller's own.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import lru_cache
from typing import Protocol

from greenrun.core.errors import AmbiguousJob, InvalidJob, JobError, JobNotFound
from greenrun.core.formatting import count_text, ranges_text
from greenrun.core.jobs.job import FINISHED, MOST_TOGETHER, ArrayPlace, Job, State

HELD = "held"  # a filter beside the states, as lists show it
ALL_INDICES = ("", "*")
MOST_LISTED = 10  # jobs named in a sentence

_NUMBERS = re.compile(r"\d{1,19}(-\d{1,19})?(,\d{1,19}(-\d{1,19})?)*", re.ASCII)
_RANGE = re.compile(r"(?P<first>\d{1,19})(?:-(?P<last>\d{1,19}))?", re.ASCII)
_MEMBERS = re.compile(r"(?P<array>.+)\[(?P<indices>[\d,\s-]*|\*)\]", re.ASCII | re.DOTALL)
_AS_SLURM = re.compile(r"(?P<array>\d{1,19})_(?:(?P<index>\d+)|\[(?P<indices>[\d,\s-]*|\*)\])", re.ASCII)
_COMMA = re.compile(r",(?![^\[]*\])")  # one that is in no brackets


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which jobs are meant: those that the `words` name (every one, where there are none) and all filters let through.

    `everything` says that all of the caller's are meant; without it and without words, a filter has to say which.
    """

    words: tuple[str, ...] = ()
    everything: bool = False
    states: tuple[str, ...] = ()
    project: str | None = None
    name: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return not (self.words or self.everything or self.has_filter)

    @property
    def has_filter(self) -> bool:
        """Whether it has a filter."""
        return bool(self.states) or self.project is not None or self.name is not None

    def __str__(self) -> str:
        parts = [*(f"'{word}'" for word in self.words), *(f"--state {state}" for state in self.states)]
        parts += [f"--project {self.project}"] if self.project is not None else []
        parts += [f"--name {self.name}"] if self.name is not None else []
        return " ".join(parts) or "--all"

    def lets_through(self, job: "JobEntry") -> bool:
        """Whether a job has what the filters ask for."""
        return (
            (not self.states or job.state in self.states or (HELD in self.states and job.is_held))
            and self.project in (None, job.project)
            and (self.name is None or _is_called(job, self.name))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEntry:
    """As much of a job as it takes to find it. `title` is its name without an array's index."""

    id: int
    uid: int
    title: str
    state: State
    held: bool
    project: str
    array: ArrayPlace | None = None

    @property
    def is_held(self) -> bool:
        """Whether it waits only because somebody holds it."""
        return self.held and self.state is State.QUEUED

    @property
    def unit(self) -> str | int:
        """What it belongs to: its array, or itself."""
        return self.array.key if self.array else self.id


def entry_of(job: Job) -> JobEntry:
    """Return the entry of a job."""
    return JobEntry(
        id=job.id, uid=job.uid, title=job.spec.title, state=job.state, held=job.held, project=job.spec.project,
        array=job.spec.array,
    )  # fmt: skip


class Several(Enum):
    """What is done where a name is that of several jobs which are not one array."""

    ALL = auto()  # each of them: what is asked does no harm
    REFUSED = auto()
    NEWEST = auto()  # the one that is not finished, else the newest; refused where several are not finished
    AWAITED = auto()  # all that are not finished, else the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What jobs are wanted for: what `done` to them says in a sentence, and for which jobs that is possible."""

    done: str
    several: Several
    is_possible: Callable[[JobEntry], bool] = lambda job: True
    unfinished_only: bool = False

    @property
    def takes_whole_arrays(self) -> bool:
        """Whether of an array the finished jobs are wanted too, as long as it is meant."""
        return self.several in (Several.NEWEST, Several.AWAITED)


def _is_unfinished(job: JobEntry) -> bool:
    return job.state not in FINISHED


def _is_queued(job: JobEntry) -> bool:
    return job.state is State.QUEUED


PURPOSES: Mapping[str, Purpose] = {
    "cancel": Purpose(
        done="be cancelled", several=Several.REFUSED, is_possible=_is_unfinished, unfinished_only=True
    ),
    "hold": Purpose(done="be held", several=Several.ALL, is_possible=_is_queued, unfinished_only=True),
    "release": Purpose(
        done="be released", several=Several.ALL, is_possible=lambda job: job.is_held, unfinished_only=True
    ),
    "start-now": Purpose(
        done="be started now", several=Several.REFUSED, is_possible=_is_queued, unfinished_only=True
    ),
    "approve": Purpose(
        done="be let go over a budget", several=Several.REFUSED, is_possible=_is_queued, unfinished_only=True
    ),
    "edit": Purpose(done="be edited", several=Several.REFUSED, is_possible=_is_unfinished, unfinished_only=True),
    "requeue": Purpose(
        done="be requeued", several=Several.REFUSED, is_possible=lambda job: job.state in FINISHED
    ),
    "read": Purpose(done="be shown", several=Several.NEWEST),
    "wait": Purpose(done="be waited for", several=Several.AWAITED),
    "after": Purpose(done="be waited for", several=Several.NEWEST),
}  # fmt: skip


class Directory(Protocol):
    """Where jobs are looked up, as one caller sees them."""

    def of_ids(self, ids: Collection[int]) -> Mapping[int, JobEntry]:
        """Return these jobs by id; one that does not exist is absent."""

    def of_user(self, uid: int | None = None, *, unfinished_only: bool = False) -> Sequence[JobEntry]:
        """Return all jobs of a user, by id; of the caller where none is named."""

    def may_control(self, job_id: int) -> bool:
        """Whether the caller may change a job."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The ids that were found, each once, in the order named; and what could not be found, with the reason.

    Of the ids, `unknown` are numbers of no job: who takes the jobs one by one tells so of each.
    """

    ids: tuple[int, ...] = ()
    problems: tuple[JobError, ...] = ()
    unknown: tuple[int, ...] = ()


@dataclass
class _Found:
    """What has been found so far, in order."""

    ids: dict[int, None] = field(default_factory=dict)
    problems: list[JobError] = field(default_factory=list)


def select(selector: Selector, purpose: Purpose, directory: Directory) -> Selection:
    """Return the jobs that are meant, and an error for each word that names none."""
    found, resolver, unknown = _Found(), _Resolver(selector, purpose, directory), list[int]()
    if not selector.words:
        waits = purpose.several is Several.AWAITED and not selector.states  # nobody waits for all that ever ended
        known = directory.of_user(unfinished_only=purpose.unfinished_only or waits)
        jobs = [job for job in known if purpose.is_possible(job)]
        found.ids = {job.id: None for job in jobs if selector.lets_through(job)}
        if not found.ids:
            found.problems.append(_no_such(f"no job of yours that can {purpose.done} matches {selector}"))
    for part in (part for word in selector.words for part in resolver.parts(word)):
        try:
            jobs = resolver.resolve(part)
        except JobError as exc:
            found.problems.append(exc)
        else:
            found.ids |= {job.id: None for job in jobs}
            found.ids |= dict.fromkeys(resolver.unknown)
            unknown += resolver.unknown
            resolver.unknown.clear()
    return Selection(tuple(found.ids), tuple(found.problems), tuple(dict.fromkeys(unknown)))


class _Resolver:
    """Resolves words one after the other. `unknown` are numbers named one by one: whoever acts on them says why not."""

    def __init__(self, selector: Selector, purpose: Purpose, directory: Directory) -> None:
        self._selector, self._purpose, self._directory = selector, purpose, directory
        self.unknown: list[int] = []

    def parts(self, word: str) -> list[str]:
        """Return what a word names between its commas, each as a word of its own; a name may hold a comma."""
        text = word if word != word.strip() and self._named(word) else word.strip()
        found = [part.strip() for part in _COMMA.split(text) if part.strip()]
        return [text] if len(found) < 2 or self._named(text) else found

    def resolve(self, text: str) -> list[JobEntry]:
        """Return the jobs that a part names and the filters let through; raise JobError where there are none."""
        jobs = self._resolved(text)
        through = [job for job in jobs if self._selector.lets_through(job)]
        if not through and not self.unknown:
            raise _no_such(f"no job that '{text}' names matches {replace(self._selector, words=())}")
        return through

    def _resolved(self, text: str) -> list[JobEntry]:
        if _RANGE.fullmatch(text):
            return self._numbered(text)
        if named := self._named(text):
            return self._of_name(text, named)
        members = _AS_SLURM.fullmatch(text) or _MEMBERS.fullmatch(text)
        if members is None:
            raise self._unknown_name(text)
        groups = members.groupdict()
        indices = groups.get("index") or groups["indices"] or ""
        return self._members(text, groups["array"], indices)

    def _numbered(self, text: str) -> list[JobEntry]:
        """Return the job of a number, whatever may come of it; of a range those that are there and can be taken."""
        ids = _numbers(text)
        known = self._directory.of_ids(ids)
        if len(ids) == 1 and "-" not in text:
            if ids[0] not in known and not self._selector.has_filter:
                self.unknown.append(ids[0])
            return list(known.values())
        jobs = [known[job_id] for job_id in ids if job_id in known and self._directory.may_control(job_id)]
        return self._possible(text, jobs)

    def _of_name(self, text: str, named: Sequence[JobEntry]) -> list[JobEntry]:
        """Return the jobs that a name means: those of one array, of a pattern all, else as the purpose says."""
        units = _units(self._wanted(text, named))
        if len(units) > 1 and not _is_pattern(text):
            units = self._chosen(text, units)
        return [job for unit in units for job in self._of_unit(unit)]

    def _members(self, text: str, array: str, indices: str) -> list[JobEntry]:
        """Return the jobs of an array, or those of some of its indices; one that is named alone whatever its state."""
        is_number = array.isascii() and array.isdigit() and int(array) < 2**63
        jobs = self._array_of_number(text, int(array)) if is_number else self._arrays(text, array)
        if indices in ALL_INDICES:
            return self._possible(text, jobs)
        wanted = set(_numbers(indices, "an index"))
        units = _units(job for job in jobs if job.array and job.array.index in wanted)
        if not units:
            there = ranges_text(sorted({job.array.index for job in jobs if job.array}))
            raise _no_such(f"'{text}' names no job: the indices of {array} are {there}")
        if len(units) > 1:
            possible = _units(job for unit in units for job in unit if self._purpose.is_possible(job))
            units = self._chosen(text, possible or units)
        if len(wanted) == 1:
            return list(units[0])
        return self._possible(text, [job for unit in units for job in unit])

    def _array_of_number(self, text: str, job_id: int) -> list[JobEntry]:
        job = self._directory.of_ids([job_id]).get(job_id)
        if job is None:
            raise _no_such(f"there is no job {job_id}")
        if job.array is None:
            raise _no_such(f"'{text}' names no job: job {job_id} is in no array")
        return [other for other in self._directory.of_user(job.uid) if other.unit == job.unit]

    def _arrays(self, text: str, name: str) -> list[JobEntry]:
        jobs = [job for job in self._directory.of_user() if job.array and _is_called(job, name)]
        if not jobs:
            raise self._unknown_name(text)
        return jobs

    def _named(self, text: str) -> list[JobEntry]:
        """Return the caller's jobs of this name; of all of them only where none of the unfinished ones will do."""
        if _NUMBERS.fullmatch(text):
            return []
        for unfinished_only in dict.fromkeys((self._purpose.unfinished_only, False)):
            jobs = [job for job in self._directory.of_user(unfinished_only=unfinished_only) if _is_called(job, text)]
            if jobs:
                return jobs
        return []

    def _wanted(self, text: str, jobs: Sequence[JobEntry]) -> list[JobEntry]:
        """Return the jobs of those units of which one can be taken; raise JobNotFound where there is none."""
        units = {job.unit for job in jobs if self._purpose.is_possible(job)}
        if not units:
            self._possible(text, jobs)
        return [job for job in jobs if job.unit in units]

    def _of_unit(self, unit: Sequence[JobEntry]) -> list[JobEntry]:
        return [job for job in unit if self._purpose.takes_whole_arrays or self._purpose.is_possible(job)]

    def _chosen(self, text: str, units: Sequence[Sequence[JobEntry]]) -> list[Sequence[JobEntry]]:
        several = self._purpose.several
        if several is Several.ALL:
            return list(units)
        if several is not Several.REFUSED:
            unfinished = [unit for unit in units if any(map(_is_unfinished, unit))]
            if len(unfinished) < 2 or several is Several.AWAITED:
                return unfinished or [max(units, key=lambda unit: unit[-1].id)]
            units = unfinished
        listed = [_unit_text(unit) for unit in units]
        more = f" and {len(listed) - MOST_LISTED} more" if len(listed) > MOST_LISTED else ""
        raise AmbiguousJob(
            f"'{text}' names {count_text(len(units), 'job')} of yours: {', '.join(listed[:MOST_LISTED])}{more}; "
            f"say which by its number, or --name '{text.partition('[')[0]}' to take every one of that name"
        )

    def _possible(self, text: str, jobs: Sequence[JobEntry]) -> list[JobEntry]:
        """Return those jobs that can be taken; raise JobNotFound, with what is known of them, where there is none."""
        possible = [job for job in jobs if self._purpose.is_possible(job)]
        if possible:
            return possible
        if not jobs:
            raise _no_such(f"there is no job of yours among {text}")
        states = ", ".join(dict.fromkeys(HELD if job.is_held else job.state.value for job in jobs))
        which = f"job {jobs[0].id}, which is {states}" if len(jobs) == 1 else f"{len(jobs)} jobs, which are {states}"
        raise JobNotFound(f"'{text}' names no job that can {self._purpose.done}: it names {which}")

    def _unknown_name(self, text: str) -> JobNotFound:
        return _no_such(f"no job of yours is called '{text}'")


def _numbers(text: str, what: str = "a job's number") -> list[int]:
    """Read `3` or `1-5` (of indices also `1,3-5`); raise InvalidJob for what is no range, or too long a one."""
    found: list[int] = []
    for part in "".join(text.split()).split(","):
        row = _RANGE.fullmatch(part)
        first = int(row["first"]) if row else 0
        last = int(row["last"] or first) if row else -1
        if last < first or last >= 2**63:
            raise InvalidJob(f"'{text}' is not {what} or a range of them; write it like 3, 1-5 or 1-5,8")
        if last - first + len(found) >= MOST_TOGETHER:
            raise InvalidJob(f"'{text}' spans more than {MOST_TOGETHER} jobs; name them in parts, or use --all")
        found += range(first, last + 1)
    return found


def _is_called(job: JobEntry, name: str) -> bool:
    return job.title == name or (_is_pattern(name) and _pattern(name).fullmatch(job.title) is not None)


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


@lru_cache(100)
def _pattern(name: str) -> re.Pattern[str]:
    """Return the expression of a name in which `*` is anything and `?` one character."""
    ways = {"*": ".*", "?": "."}
    return re.compile("".join(ways.get(sign) or re.escape(sign) for sign in name), re.DOTALL)


def _units(jobs: Iterable[JobEntry]) -> list[Sequence[JobEntry]]:
    """Return the jobs by the arrays that they are of, in order of their first."""
    units: dict[str | int, list[JobEntry]] = {}
    for job in jobs:
        units.setdefault(job.unit, []).append(job)
    return list(units.values())


def _unit_text(unit: Sequence[JobEntry]) -> str:
    states = "/".join(dict.fromkeys(job.state.value for job in unit))
    return f"{ranges_text([job.id for job in unit])} ({states})"


def _no_such(what: str) -> JobNotFound:
    return JobNotFound(f"{what}; `greenrun list --all` shows those that there are")
