"""Sites with a power cap, drawn by hypothesis."""

from dataclasses import replace
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from greenrun.core.accounting.weekly import DAY_MIN, Rule, Weekly
from greenrun.core.planning.model import Situation
from greenrun.core.planning.power_cap.site_power import SitePower
from tests.core import situations as drawn

watts = st.sampled_from([0.0, 600.0, 1000.0, 1300.0, 2500.0, 4000.0])
zones = st.sampled_from([ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")])


@st.composite
def caps(draw: st.DrawFn) -> Weekly:
    """A cap by the clock: for all time, or for some hours of some days, another or none beside."""
    start = draw(st.integers(0, DAY_MIN - 1))
    rules = [
        Rule(
            days=frozenset(draw(st.sets(st.integers(0, 6), min_size=1))),
            start_min=start,
            end_min=min(DAY_MIN, start + draw(st.integers(1, 300))),
            value=draw(watts),
        )
    ]
    rest = draw(st.none() | watts)
    return Weekly.of(rules if rest is None or draw(st.booleans()) else [], rest, draw(zones))


@st.composite
def situations(draw: st.DrawFn, crowded: bool = False) -> Situation:
    """Anything that the engine could be in, on a site with a power cap."""
    asked = draw(drawn.crowded() if crowded else drawn.situations())
    power = SitePower(
        cap=draw(caps()),
        host_w=draw(st.sampled_from([0.0, 200.0])),
        idle_w={device: draw(st.sampled_from([30.0, 60.0])) for device in asked.devices if draw(st.booleans())},
        limit_w={device: draw(st.sampled_from([350.0, 700.0])) for device in asked.devices if draw(st.booleans())},
        drawn_w={device: draw(st.sampled_from([100.0, 400.0])) for device in asked.busy if draw(st.booleans())},
        seen_w={run.job.id: draw(st.sampled_from([300.0, 900.0])) for run in asked.running if draw(st.booleans())},
    )
    return replace(asked, power=power)
