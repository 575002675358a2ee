"""What a daemon's records tell of its starts: each fault that they can hold is told, and nothing that is right."""

from dataclasses import replace

from tests.system.decisions import Claim, Decisions, Kept, Place

FIRST = Claim(job=1, gpus=2, claimed_s=10.0, confirmed_s=10.2, closed_s=14.3, ended_s=14.1)
SECOND = Claim(job=2, gpus=1, claimed_s=14.3, confirmed_s=14.5, closed_s=20.0, ended_s=19.9)
BEFORE = Kept(5.0, (Place(1, 10.0, 2), Place(2, 14.0, 1)))
AFTER = Kept(10.5, (Place(2, 14.0, 1),))
RIGHT = Decisions(gpus=2, plans=(BEFORE, AFTER), claims=(FIRST, SECOND), ticks_s=(5.0, 9.0, 10.0, 14.0, 14.3, 20.0))


def test_starts_that_their_plans_allow_are_right() -> None:
    assert RIGHT.too_early() == []
    assert RIGHT.waited() == [1, 2]


def test_a_start_before_its_plan_allows_it_is_told() -> None:
    early = replace(RIGHT, claims=(FIRST._replace(claimed_s=9.0), SECOND))
    assert [said[:28] for said in early.too_early()] == ["job 1 was claimed at 9.000 w"]


def test_a_start_of_what_was_inserted_and_started_at_once_is_right() -> None:
    inserted = replace(RIGHT, plans=(BEFORE._replace(places=BEFORE.places[:1]), AFTER._replace(places=())))
    assert inserted.too_early() == []


def test_a_plan_that_was_made_after_a_start_says_nothing_of_it() -> None:
    empty, later = BEFORE._replace(places=()), Kept(9.1, (Place(1, 9.05, 2),), made_s=9.05)
    inserted = replace(RIGHT, plans=(empty, later), claims=(FIRST._replace(claimed_s=9.0),))
    assert inserted.too_early() == []
    assert replace(inserted, plans=(empty, later._replace(made_s=9.0))).too_early() != []


def test_a_start_is_not_due_before_its_plan_was_kept() -> None:
    late = replace(RIGHT, plans=(BEFORE._replace(kept_s=10.05), AFTER), claims=(FIRST._replace(claimed_s=10.1), SECOND))
    assert late.too_early() == []
    assert late.due_s(late.claims[0]) == 10.05


def test_a_start_is_due_when_its_plan_allows_it_and_its_gpus_are_free() -> None:
    assert [RIGHT.due_s(claim) for claim in RIGHT.claims] == [10.0, 14.1]
    assert replace(RIGHT, gpus=3).due_s(SECOND) == 14.0


def test_a_start_that_news_brought_forward_is_due_when_it_comes() -> None:
    assert replace(RIGHT, plans=(BEFORE._replace(places=(Place(1, 12.0, 2),)), AFTER)).due_s(FIRST) == FIRST.claimed_s
