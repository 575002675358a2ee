"""What holds for every plan on a site with a power cap: no slot has more than the cap, by whatever path."""

from dataclasses import replace

from hypothesis import given

from greenrun.core.accounting.weekly import Weekly
from greenrun.core.planning.model import Situation
from greenrun.core.planning.planner import plan
from greenrun.core.planning.power_cap.site_power import SitePower
from tests.core import situations as drawn
from tests.core.planning.power_cap.draws import situations
from tests.core.situations import quickly
from tests.core.sound import check


@quickly(80)
@given(situations())
def test_no_plan_draws_more_than_the_cap(asked: Situation) -> None:
    made = plan(asked)
    check(asked, made)
    assert made == plan(asked)


@quickly(25)
@given(situations(crowded=True))
def test_no_plan_of_a_contended_queue_draws_more_than_the_cap(asked: Situation) -> None:
    check(asked, plan(asked))


@quickly(30)
@given(drawn.situations())
def test_a_cap_that_is_never_reached_changes_no_plan(asked: Situation) -> None:
    capped = replace(asked, power=SitePower(cap=Weekly.of([], 1e8), limit_w=dict.fromkeys(asked.devices, 400.0)))
    assert plan(capped) == plan(asked)
