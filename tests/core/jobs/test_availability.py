"""Whether jobs may be started on a GPU: whose the processes on it are, and what a short visitor changes."""

from dataclasses import replace
from datetime import timedelta

import pytest

from greenrun.core.energy.model import Device, GpuProcess
from greenrun.core.errors import InvalidInput
from greenrun.core.jobs.availability import (
    FREE_AFTER,
    SMALL_BYTES,
    USED_AFTER,
    Drain,
    Occupant,
    Presence,
    ProcessOwner,
    gpus_named,
    others_on,
    still_named,
    used_by,
)
from tests.core.build import T0

GIB = 1 << 30
SECOND = timedelta(seconds=1)
BOB, OURS = ProcessOwner(user="bob"), ProcessOwner(user="ada", run="7.1")


def on(*pids: int, **more: object) -> list[GpuProcess]:
    return [GpuProcess(pid=pid, memory_bytes=8 * GIB, **more) for pid in pids]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("owner", "holder", "is_other"),
    [
        (OURS, "7.1", False),  # of the run that holds it
        (OURS, "8.1", True),  # a job that uses a GPU it was not given
        (OURS, None, True),  # left behind by a run, or on a GPU that nobody was given
        (BOB, "7.1", True),  # beside a run
        (BOB, None, True),
        (ProcessOwner(user="ada"), "7.1", True),  # of the same user, but of no run
        (ProcessOwner(is_seen=False), "7.1", False),  # cannot be told from the run's own
        (ProcessOwner(is_seen=False), None, True),  # nobody's of ours is there
        (ProcessOwner(user=None), "7.1", True),  # hidden, and so another user's
        (ProcessOwner(run="7.1", is_seen=False, has_ended=True), None, False),  # the driver names it for a moment more
        (ProcessOwner(user="root", is_service=True), None, False),  # NVIDIA's MPS
    ],
)
def test_whose_a_process_is_decides_and_not_its_user(owner: ProcessOwner, holder: str | None, is_other: bool) -> None:
    assert [row.pid for row in others_on(on(42), {42: owner}, [holder] if holder else [])] == [42] * is_other


@pytest.mark.parametrize(("size", "counts"), [(200 << 20, False), (SMALL_BYTES, True), (8 * GIB, True), (None, False)])
def test_a_display_server_is_no_occupant_and_a_renderer_is(size: int | None, counts: bool) -> None:
    process = GpuProcess(pid=42, memory_bytes=size, is_graphics=True)
    assert bool(others_on([process], {42: BOB}, ())) is counts
    assert others_on([GpuProcess(pid=42, memory_bytes=size)], {42: BOB}, ())  # one that computes, however little


def test_no_more_is_claimed_than_is_known() -> None:
    rows = others_on(on(3, 1, 2), {1: BOB, 2: OURS, 3: ProcessOwner(is_seen=False)}, ())
    assert used_by("GPU 1", rows).text == (
        "used by process 1 of bob and process 2 of run 7.1, which does not hold it "
        "and process 3 of a user who cannot be seen"
    )
    contained = Occupant(pid=9, user="root", memory_bytes=None, in_container=True)
    assert used_by("GPU 0", [contained]).text == (
        "used by process 9 of root in a container (if a job started the container, that cannot be told: "
        "give it the job's token, docker run -e GREENRUN_RUN_TOKEN)"
    )
    own = replace(contained, run="12.1")
    assert used_by("GPU 0", [own]).text == "used by process 9 of run 12.1, which does not hold it"
    many = [Occupant(pid=pid, user="bob", memory_bytes=None) for pid in range(1, 6)]
    assert used_by("GPU 1", many).text.endswith("process 3 of bob and others")


def test_who_is_named_changes_only_when_one_of_those_named_has_gone() -> None:
    small, large, new = (Occupant(pid=pid, user="bob", memory_bytes=size) for pid, size in ((1, 1), (2, GIB), (3, 9)))
    named = still_named((), [small, large])
    assert [row.pid for row in named] == [2, 1]
    assert still_named(named, [small, replace(large, memory_bytes=3 * GIB), new]) == named
    assert [row.pid for row in still_named(named, [large, new])] == [2, 3]


def test_a_short_visitor_changes_nothing_and_a_short_absence_neither() -> None:
    seen, gone = (True, USED_AFTER, FREE_AFTER), (False, USED_AFTER, FREE_AFTER)

    def after(*looks: tuple[float, bool]) -> bool:
        here = Presence()
        for second, is_seen in looks:
            what, comes, goes = seen if is_seen else gone
            here = here.after(what, T0 + second * SECOND, comes, goes)
        return here.is_there

    assert not after((0, True), (2, False), (7, True))  # two visits of a moment
    assert after((0, True), (5, True))
    assert after((0, True), (5, True), (10, False), (15, True), (20, False))  # gone for a moment, twice
    assert not after((0, True), (5, True), (10, False), (22, False))
    assert after((0, True), (-3600, True), (-3595, True))  # the clock was set back


def test_a_drain_says_who_since_when_and_why() -> None:
    drain = Drain(device="a", user="ada", since=T0, reason="replacing the fan")
    assert drain.text == "drained by ada since 2026-03-02 00:00:00Z: replacing the fan"
    assert Drain(device="a", user="ada", since=T0).text.endswith("00:00:00Z")


def test_gpus_are_named_by_index_id_or_the_beginning_of_one_and_all_wrong_names_are_told() -> None:
    there = [Device(id=f"GPU-{name}", index=index, model="", source="nvml") for index, name in enumerate(["aa", "ab"])]
    assert [row.index for row in gpus_named(["1", "GPU-aa", "gpu-ab", "1"], there)] == [1, 0]
    with pytest.raises(InvalidInput) as refused:
        gpus_named(["0", "7", "GPU-a", ""], there)
    assert [row.message.partition(";")[0] for row in refused.value.problems] == [
        "'7' is no GPU of this machine",
        "'GPU-a' names several GPUs",
        "'' is no GPU of this machine",
    ]
