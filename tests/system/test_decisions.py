"""What a daemon's records tell of its starts: each fault that they can hold is told, and nothing that is right."""

from dataclasses import replace

from tests.system.decisions import Claim, Decisions, Kept, Place

FIRST = Claim(job=1, gpus=2, claimed_s=10.0, confirmed_s=10.2, closed_s=14.3, ended_s=14.1)
SECOND = Claim(job=2, gpus=1, claimed_s=14.3, confirmed_s=14.5, closed_s=20.0, ended_s=19.9)
BEFORE = Kept(5.0, (Place(1, 10.0, 2), Place(2, 14.0, 1)))
AFTER = Kept(10.5, (Place(2, 14.0, 1),))
RIGHT = Decisions(gpus=2, plans=(BEFORE, AFTER), claims=(FIRST, SECOND), ticks_s=(5.0, 9.0, 10.0, 14.0, 14.3, 20.0))


def test_starts_at_the_first_tick_with_room_are_right() -> None:
    assert RIGHT.wrong() == []
    assert RIGHT.waited() == [1, 2]


def test_a_start_before_its_plan_allows_it_is_told() -> None:
    early = replace(RIGHT, claims=(FIRST._replace(claimed_s=9.0), SECOND))
    assert [said[:28] for said in early.wrong()] == ["job 1 was claimed at 9.000 w"]


def test_a_start_of_what_no_plan_has_is_told() -> None:
    unplanned = replace(RIGHT, plans=(BEFORE._replace(places=BEFORE.places[:1]), AFTER._replace(places=())))
    assert [said[:29] for said in unplanned.wrong()] == ["job 2 was claimed at 14.300 w"]


def test_a_tick_that_starts_less_than_it_could_is_told() -> None:
    missed = replace(RIGHT, claims=(FIRST._replace(claimed_s=10.1), SECOND))
    assert [said[:35] for said in missed.wrong()] == ["job 1 was not claimed at 10.000 wit"]


def test_a_plan_that_comes_with_a_tick_or_after_it_is_not_held_against_that_tick() -> None:
    late = replace(
        RIGHT, plans=(BEFORE._replace(kept_s=10.0001), AFTER), claims=(FIRST._replace(claimed_s=10.1), SECOND)
    )
    assert late.wrong() == []
    assert late.due_s(late.claims[0]) == 10.0001


def test_a_tick_that_finds_the_gpus_busy_starts_nothing() -> None:
    assert not any("14.000" in said for said in RIGHT.wrong())
    free = replace(RIGHT, claims=(FIRST._replace(closed_s=13.9, ended_s=13.8), SECOND))
    assert [said[:35] for said in free.wrong()] == ["job 2 was not claimed at 14.000 wit"]


def test_a_start_is_due_when_its_plan_allows_it_and_its_gpus_are_free() -> None:
    assert [RIGHT.due_s(claim) for claim in RIGHT.claims] == [10.0, 14.1]
    assert replace(RIGHT, gpus=3).due_s(SECOND) == 14.0


def test_a_start_that_news_brought_forward_is_due_when_it_comes() -> None:
    assert replace(RIGHT, plans=(BEFORE._replace(places=(Place(1, 12.0, 2),)), AFTER)).due_s(FIRST) == FIRST.claimed_s
