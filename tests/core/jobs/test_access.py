"""Who may see and touch what: each rule, for each kind of caller and each choice of a site."""

from datetime import UTC, datetime, timedelta

import pytest

from greenrun.core.errors import JobNotFound, NotPermitted
from greenrun.core.jobs.access import (
    NOT_TOLD,
    Access,
    AccessRules,
    Role,
    Sharing,
    Viewer,
    jobs_named,
    name_for_others,
    reason_for_others,
    without_jobs,
)
from greenrun.core.jobs.job import ArrayPlace, Job, JobSpec, State
from greenrun.core.jobs.reasons import SENTENCES, Reason, ReasonCode

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)

ADA = Viewer(uid=1, name="ada")
BOB = Viewer(uid=2, name="bob", groups=frozenset({"lab"}))
EVE = Viewer(uid=3, name="eve", groups=frozenset({"lab", "wheel"}))
ROOT = Viewer(uid=0, name="root", is_operator=True)


def job(**own: object) -> Job:
    spec = JobSpec(command=("/bin/secret", "--token", "x"), workdir="/home/ada", duration=timedelta(hours=1), **own)  # type: ignore[arg-type]
    return Job(id=12, spec=spec, user="ada", uid=1, state=State.RUNNING, submitted_at=NOW)


def rules(others: Sharing = Sharing.LISTED, **own: object) -> AccessRules:
    return AccessRules(others=others, admin_groups=("wheel",), **own)  # type: ignore[arg-type]


@pytest.mark.parametrize("others", Sharing)
def test_a_job_is_its_owners_the_admins_and_the_operators(others: Sharing) -> None:
    seen = {Sharing.PRIVATE: Access.NOTHING, Sharing.LISTED: Access.LISTED, Sharing.OPEN: Access.READ}[others]
    found = [rules(others).access(viewer, 1) for viewer in (ADA, EVE, ROOT, BOB)]
    assert found == [Access.ALL, Access.ALL, Access.ALL, seen]


def test_who_has_got_the_number_of_a_former_account_is_another_user() -> None:
    new, nameless = Viewer(uid=1, name="zoe"), Viewer(uid=1, name="1")
    with pytest.raises(NotPermitted):
        rules().require_all(new, job())
    with pytest.raises(NotPermitted):
        rules().require_own(new, job(), "its command")
    with pytest.raises(JobNotFound):
        rules(Sharing.PRIVATE).require_visible(new, job())
    assert rules().require_all(nameless, job()) == rules().require_all(ADA, job()) == job()


def test_a_role_is_by_the_kernel_or_by_a_group_that_the_site_names() -> None:
    assert [rules().role(viewer) for viewer in (BOB, EVE, ROOT)] == [
        Role.USER,
        Role.ADMIN,
        Role.OPERATOR,
    ]
    assert AccessRules().role(EVE) is Role.USER  # no group is one of admins unless the site says so


def test_a_hidden_job_is_refused_as_one_that_does_not_exist() -> None:
    private = rules(Sharing.PRIVATE)
    for refused in (private.require_visible, private.require_all):
        with pytest.raises(JobNotFound, match=r"^there is no job 12$"):
            refused(BOB, job())
    with pytest.raises(JobNotFound, match=r"^there is no job 12$"):
        private.require_read(BOB, job(), "what it used")


def test_every_refusal_names_the_rule_and_who_may() -> None:
    with pytest.raises(NotPermitted, match="belongs to ada: bob may look at it but not touch it") as touched:
        rules().require_all(BOB, job())
    with pytest.raises(NotPermitted, match='others = "listed" shows others its name, state, GPUs and times') as read:
        rules().require_read(BOB, job(), "what it used")
    with pytest.raises(NotPermitted, match=r"may drain GPUs: ask one of them") as role:
        rules().require_role(BOB, "drain GPUs")
    assert all("root and members of the group wheel" in str(told.value) for told in (touched, read, role))
    assert "secret" not in str(touched.value) + str(read.value)


def test_only_members_submit_to_a_closed_project_whoever_they_are() -> None:
    closed = rules(members={"vision": ("ada", "@lab"), "empty": ()})
    closed.require_member(ADA, "vision")
    closed.require_member(BOB, "vision")  # by his group
    closed.require_member(ROOT, "open")
    for viewer, project in ((ROOT, "vision"), (ADA, "empty")):
        with pytest.raises(NotPermitted, match=rf"\[project.{project}\] members"):
            closed.require_member(viewer, project)


def test_groups_are_asked_for_only_where_a_rule_names_one() -> None:
    assert [rules().names_groups, AccessRules(members={"p": ("ada",)}).names_groups] == [True, False]
    assert AccessRules(members={"p": ("@lab",)}).names_groups


@pytest.mark.parametrize("code", ReasonCode)
def test_a_reason_tells_others_nothing_that_comes_from_the_command(code: ReasonCode) -> None:
    """What is filled in by a run, its program or its end is for the owner; what the plan says is for all."""
    names = {"why", "code", "signal", "anomaly", "how", "cost", "quick"}
    told = reason_for_others(Reason(code, "text"))
    if code not in (ReasonCode.GPUS_BUSY, ReasonCode.GIVES_WAY, ReasonCode.POWER_CAP) and any(
        f"{{{name}}}" in SENTENCES[code] for name in names
    ):
        assert told == Reason(code, NOT_TOLD)
    assert told in (Reason(code, NOT_TOLD), Reason(code, "text"))


def test_a_name_made_of_the_command_is_not_told() -> None:
    place = ArrayPlace(key="k", index=3, size=9)
    assert [name_for_others(job()), name_for_others(job(name="train", array=place))] == ["job 12", "train[3]"]
    assert "secret" not in name_for_others(job(array=place))


def test_hidden_jobs_are_not_named_in_sentences() -> None:
    said = "waits for a free GPU, expected at 10:00 when jobs 3, 4, 5 and 2 more end: run 4.1 used it; waits for job 7"
    assert jobs_named([said]) == {3, 4, 5, 7}
    assert without_jobs(said, {3}.__contains__) == (
        "waits for a free GPU, expected at 10:00 when job 3 and 4 other jobs end: a run of another user used it; "
        "waits for a job of another user"
    )
    assert without_jobs(said, lambda job_id: True) == said
