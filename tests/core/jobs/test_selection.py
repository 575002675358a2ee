"""People name jobs by number, range, name and array; what a word means depends on what the job is wanted for."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from greenrun.core.errors import AmbiguousJob, InvalidJob, JobError, JobNotFound
from greenrun.core.jobs.job import ArrayPlace, State
from greenrun.core.jobs.selection import PURPOSES, JobEntry, Selection, Selector, select

UIDS = {"ada": 1000, "bob": 1001}


@dataclass
class Jobs:
    """Jobs of ada, who asks, and of others."""

    entries: list[JobEntry] = field(default_factory=list)

    def add(
        self, job_id: int, title: str = "train", state: State = State.QUEUED, *, user: str = "ada", held: bool = False,
        project: str = "default", array: ArrayPlace | None = None,
    ) -> "Jobs":  # fmt: skip
        entry = JobEntry(id=job_id, uid=UIDS[user], title=title, state=state, held=held, project=project, array=array)
        self.entries.append(entry)
        return self

    def add_array(self, first: int, states: str, title: str = "sweep", key: str = "a", start: int = 0) -> "Jobs":
        """Add an array of jobs whose states are q(ueued), r(unning), s(ucceeded) or f(ailed)."""
        kinds = {"q": State.QUEUED, "r": State.RUNNING, "s": State.SUCCEEDED, "f": State.FAILED}
        for place, sign in enumerate(states):
            index = ArrayPlace(key=key, index=start + place, size=len(states))
            self.add(first + place, title, kinds[sign], array=index)
        return self

    def of_ids(self, ids: Collection[int]) -> Mapping[int, JobEntry]:
        return {job.id: job for job in self.entries if job.id in ids}

    def of_user(self, uid: int | None = None, *, unfinished_only: bool = False) -> Sequence[JobEntry]:
        gone = {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED} if unfinished_only else set()
        return [job for job in self.entries if job.uid == (uid or UIDS["ada"]) and job.state not in gone]

    def may_control(self, job_id: int) -> bool:
        return self.of_ids([job_id])[job_id].uid == UIDS["ada"]

    def found(self, purpose: str, *words: str, **filters: object) -> Selection:
        return select(Selector(words=words, **filters), PURPOSES[purpose], self)  # type: ignore[arg-type]

    def ids(self, purpose: str, *words: str, **filters: object) -> list[int]:
        found = self.found(purpose, *words, **filters)
        assert found.problems == ()
        return list(found.ids)

    def problem(self, purpose: str, *words: str, **filters: object) -> JobError:
        found = self.found(purpose, *words, **filters)
        (problem,) = found.problems
        assert found.ids == ()
        return problem


def queue() -> Jobs:
    """Jobs 1 to 12: some done, an array of six (3 to 8), one of bob (9), two called train (10, 12)."""
    jobs = Jobs().add(1, "prepare", State.SUCCEEDED).add(2, "train", State.FAILED)
    jobs.add_array(3, "srqqqf").add(9, "train", user="bob")
    return jobs.add(10, "train", State.RUNNING, project="vision").add(11, "idle", held=True).add(12, "train")


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (("12",), [12]), (("12", "10"), [12, 10]), (("10,12",), [10, 12]), (("3-6",), [4, 5, 6]),
        (("1-9,12",), [4, 5, 6, 7, 12]), (("10", "9-12"), [10, 11, 12]), (("sweep",), [4, 5, 6, 7]),
        (("sweep[1]",), [4]), (("sweep[0]",), [3]), (("sweep[1-3]",), [4, 5, 6]), (("sweep[0,2,4-9]",), [5, 7]),
        (("sweep[]",), [4, 5, 6, 7]), (("sweep[*]",), [4, 5, 6, 7]), (("3[]",), [4, 5, 6, 7]), (("7[1-2]",), [4, 5]),
        (("3_2",), [5]), (("3_[1-2]",), [4, 5]), (("sweep[1],11",), [4, 11]), (("idle",), [11]), (("1",), [1]),
        (("i*",), [11]), (("99",), [99]),
    ],
)  # fmt: skip
def test_jobs_are_cancelled_by_number_range_array_and_name(words: tuple[str, ...], ids: list[int]) -> None:
    assert queue().ids("cancel", *words) == ids


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({"everything": True}, [4, 5, 6, 7, 10, 11, 12]), ({"states": ("queued",)}, [5, 6, 7, 11, 12]),
        ({"states": ("running", "held")}, [4, 10, 11]), ({"project": "vision"}, [10]), ({"name": "train"}, [10, 12]),
        ({"name": "s*"}, [4, 5, 6, 7]), ({"name": "train", "states": ("queued",)}, [12]),
    ],
)  # fmt: skip
def test_filters_choose_among_ones_own_jobs_that_can_be_cancelled(filters: dict[str, object], ids: list[int]) -> None:
    assert queue().ids("cancel", **filters) == ids


def test_without_words_only_what_has_not_ended_is_waited_for() -> None:
    assert queue().ids("wait", everything=True) == [4, 5, 6, 7, 10, 11, 12]
    assert queue().ids("wait", name="train") == [10, 12]
    assert queue().ids("wait", states=("failed",)) == [2, 8]


def test_filters_beside_words_let_some_of_them_through() -> None:
    assert queue().ids("cancel", "1-12", states=("queued",)) == [5, 6, 7, 11, 12]
    assert "'11' names" in str(queue().problem("cancel", "11", project="vision"))


@pytest.mark.parametrize(
    "purpose", ["hold", "start-now", "edit", "cancel", "release", "requeue", "read", "wait", "after"]
)
@pytest.mark.parametrize("word", ["nobody", "sweep[77]", "99-120", "99[]", "12[]", "nobody[1]", "x*"])
def test_what_names_no_job_is_an_error_that_says_it(purpose: str, word: str) -> None:
    problem = queue().problem(purpose, word)
    assert isinstance(problem, JobNotFound)
    assert word.partition("[")[0] in str(problem)


@pytest.mark.parametrize("word", ["5-3", "1-", "1-20000", str(2**63), "sweep[5-3]", "sweep[1-]"])
def test_a_range_that_cannot_be_one_is_refused(word: str) -> None:
    problem = queue().problem("cancel", word)
    assert isinstance(problem, InvalidJob | JobNotFound)
    assert "write it like" in str(problem) or "10000" in str(problem) or "called '1-'" in str(problem)


def test_an_ambiguous_name_is_refused_where_taking_all_could_do_harm_and_says_which_there_are() -> None:
    for purpose in ("cancel", "start-now", "edit"):
        jobs = Jobs().add(4).add(7).add(9, state=State.FAILED)
        problem = jobs.problem(purpose, "train")
        assert isinstance(problem, AmbiguousJob)
        assert "4 (queued), 7 (queued);" in str(problem)
        assert "--name 'train'" in str(problem)
        assert jobs.ids(purpose, name="train") == [4, 7]


def test_an_ambiguous_name_means_all_where_that_does_no_harm() -> None:
    jobs = Jobs().add(4).add(7).add(9, state=State.FAILED).add(10, held=True).add(11, held=True)
    assert jobs.ids("hold", "train") == [4, 7, 10, 11]
    assert jobs.ids("release", "train") == [10, 11]
    assert jobs.ids("wait", "train") == [4, 7, 10, 11]


def test_of_jobs_of_one_name_only_those_count_for_which_the_order_is_possible() -> None:
    jobs = Jobs().add(2, state=State.SUCCEEDED).add(3, state=State.FAILED).add(4, state=State.RUNNING)
    assert jobs.ids("cancel", "train") == [4]
    problem = jobs.problem("hold", "train")
    assert str(problem) == "'train' names no job that can be held: it names job 4, which is running"


def test_to_read_the_unfinished_job_of_a_name_is_meant_and_else_the_newest() -> None:
    jobs = Jobs().add(2, state=State.SUCCEEDED).add(3, state=State.FAILED)
    assert [jobs.ids(purpose, "train") for purpose in ("read", "wait", "after")] == [[3], [3], [3]]
    jobs.add(4).add(5, state=State.CANCELLED)
    assert [jobs.ids(purpose, "train") for purpose in ("read", "wait", "after")] == [[4], [4], [4]]
    jobs.add(6)
    assert isinstance(jobs.problem("read", "train"), AmbiguousJob)
    assert isinstance(jobs.problem("after", "train"), AmbiguousJob)
    assert jobs.ids("wait", "train") == [4, 6]


def test_an_array_is_waited_for_as_a_whole_and_the_newest_of_two_is_meant() -> None:
    jobs = Jobs().add_array(1, "sf", key="old").add_array(3, "srf", key="new")
    assert jobs.ids("wait", "sweep") == [3, 4, 5]
    assert jobs.ids("after", "sweep") == [3, 4, 5]
    assert jobs.ids("after", "1[]") == [1, 2]
    assert jobs.ids("read", "sweep[1]") == [4]
    assert isinstance(jobs.problem("requeue", "sweep"), AmbiguousJob)
    assert jobs.ids("requeue", "3[]") == [3, 5]


def test_two_unfinished_arrays_of_one_name_are_ambiguous() -> None:
    jobs = Jobs().add_array(1, "qq", key="one").add_array(3, "qq", key="two")
    assert "1-2 (queued), 3-4 (queued)" in str(jobs.problem("cancel", "sweep"))
    assert isinstance(jobs.problem("cancel", "sweep[0]"), AmbiguousJob)
    assert jobs.ids("cancel", "4[0]") == [3]


def test_a_name_may_look_like_something_else() -> None:
    jobs = Jobs().add(1, "lr=1,2").add(2, "x[3]").add(3, "12_5").add(4, "7")
    assert jobs.ids("cancel", "lr=1,2") == [1]
    assert jobs.ids("cancel", "x[3]") == [2]
    assert jobs.ids("cancel", "12_5") == [3]
    assert jobs.ids("cancel", "7") == [7]  # a number is a job's, whatever they are called
    assert jobs.ids("cancel", name="7") == [4]


def test_jobs_of_others_are_named_by_number_alone() -> None:
    jobs = Jobs().add(1, "mine").add(2, "theirs", user="bob").add(3, "mine")
    assert jobs.ids("cancel", "2") == [2]  # who orders it is told that it is bob's
    assert jobs.ids("cancel", "1-3") == [1, 3]
    assert jobs.ids("cancel", everything=True) == [1, 3]
    assert isinstance(jobs.problem("cancel", "theirs"), JobNotFound)
    assert jobs.ids("read", "2") == [2]


def test_each_word_that_names_no_job_is_told_beside_what_was_found() -> None:
    found = queue().found("cancel", "12", "nobody", "x[1]", "11")
    assert found.ids == (12, 11)
    assert [str(problem).partition(";")[0] for problem in found.problems] == [
        "no job of yours is called 'nobody'",
        "no job of yours is called 'x[1]'",
    ]


@pytest.mark.parametrize(
    ("word", "ids", "problem"),
    [
        ("1-2,12", (12,), "'1-2' names no job that can be cancelled"), ("nobody,12", (12,), "called 'nobody'"),
        ("99,nobody,11", (99, 11), "called 'nobody'"), ("12,sweep[77]", (12,), "'sweep[77]' names no job"),
    ],
)  # fmt: skip
def test_the_parts_of_a_word_are_taken_as_words_of_their_own(word: str, ids: tuple[int, ...], problem: str) -> None:
    found = queue().found("cancel", word)
    assert (found.ids, len(found.problems)) == (ids, 1)
    assert problem in str(found.problems[0])
    assert queue().found("cancel", *word.split(",")).ids == ids


@pytest.mark.parametrize("word", ["²[1]", "٣[]", f"{2**63}[1]", f"{10**30}[]"])
def test_what_is_no_number_of_a_job_is_taken_for_a_name(word: str) -> None:
    assert "is called" in str(queue().problem("cancel", word))


def test_a_filter_that_lets_nothing_through_says_what_was_looked_for() -> None:
    told = str(queue().problem("cancel", states=("succeeded",), project="vision"))
    assert told.startswith("no job of yours that can be cancelled matches --state succeeded --project vision")
    assert str(Jobs().problem("release", everything=True)).startswith(
        "no job of yours that can be released matches --all"
    )


def test_a_name_with_spaces_around_it_can_be_named_and_without_them_too() -> None:
    jobs = queue().add(13, " lead").add(14, "lead")
    assert (jobs.ids("cancel", " lead"), jobs.ids("cancel", "lead"), jobs.ids("cancel", " idle ")) == ([13], [14], [11])


@pytest.mark.parametrize("word", [",", " , ", ",,,"])
def test_commas_alone_name_no_job(word: str) -> None:
    problem = queue().problem("cancel", word)
    assert str(problem).startswith(f"no job of yours is called '{word.strip()}'")
