"""GPUs of one kind form a pool; a job uses those it may, and what is busy is taken in its own pool."""

import pytest

from greenrun.core.planning.capacity import Pool, home_of, is_kind, pools_of, timelines, too_few
from greenrun.core.planning.model import DeviceKind, Situation
from tests.core.build import SLOT, T0, job

BIG, SMALL, OLD = (
    DeviceKind(model="NVIDIA A100", memory_gib=80),
    DeviceKind(model="NVIDIA A100", memory_gib=40),
    DeviceKind(),
)
DEVICES = ("a", "b", "c", "d")


def mixed(**more: object) -> Situation:
    kinds = {"a": BIG, "b": SMALL, "c": BIG}  # nothing is known of the last
    return Situation(now=T0, jobs=(), devices=DEVICES, kinds=kinds, **more)  # type: ignore[arg-type]


def test_pools_are_the_kinds_in_order_of_their_devices_and_then_the_cpu_slots() -> None:
    pools = pools_of(mixed(cpu_slots=3))
    assert [(pool.name, pool.devices, pool.units) for pool in pools] == [
        ("NVIDIA A100 80 GiB", ("a", "c"), 2),
        ("NVIDIA A100 40 GiB", ("b",), 1),
        ("gpu", ("d",), 1),
        ("cpu", (), 3),
    ]
    assert home_of(pools) == {"a": 0, "c": 0, "b": 1, "d": 2}


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({}, [True, True, True, False]),
        ({"gpus": 2}, [True, False, False, False]),
        ({"gpus": 3}, [False] * 4),
        ({"gpu_model": "a100"}, [True, True, False, False]),
        ({"gpu_memory_gib": 41.0}, [True, False, False, False]),
        ({"gpu_memory_gib": 1.0}, [True, True, False, False]),
        ({"gpus": 0}, [False, False, False, True]),
    ],
)
def test_a_job_suits_the_pools_it_could_run_in(spec: dict[str, object], fits: list[bool]) -> None:
    assert [pool.suits(job(1, **spec)) for pool in pools_of(mixed())] == fits  # type: ignore[arg-type]


def test_without_slots_no_job_runs_on_cpus() -> None:
    assert not Pool(name="cpu", kind=None, slots=0).suits(job(1, gpus=0))


def test_an_unknown_memory_size_is_enough_for_nothing_that_asks_for_some() -> None:
    assert not is_kind(DeviceKind(model="A100"), job(1, gpu_memory_gib=1.0))


def test_what_runs_takes_its_own_pools_units_and_one_that_is_gone_takes_none() -> None:
    busy = {"a": T0 + SLOT, "c": T0 + 2 * SLOT, "gone": T0 + SLOT, "b": T0 - SLOT}
    asked = mixed(busy=busy, cpu_busy=(T0 + SLOT,), cpu_slots=1)
    lines, at_s, slot_s = timelines(asked, pools_of(asked)), T0.timestamp(), SLOT.total_seconds()
    assert [line.first_fit(at_s, 60.0, 1) for line in lines] == [at_s + slot_s, at_s, at_s, at_s + slot_s]
    assert lines[0].first_fit(at_s, 60.0, 2) == at_s + 2 * slot_s


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"gpus": 5}, "needs 5 GPUs and this machine has 2 of one kind"),
        ({"gpu_model": "H100"}, "needs 1 GPU of model H100 and this machine has none such"),
        ({"gpus": 3, "gpu_model": "A100", "gpu_memory_gib": 80.0},
         "needs 3 GPUs of model A100 with 80 GiB and this machine has 2 such"),
        ({"gpus": 4, "gpu_model": "A100"}, "needs 4 GPUs of model A100 and this machine has 2 such of one kind"),
    ],
)  # fmt: skip
def test_a_job_that_suits_no_pool_is_told_what_there_is(spec: dict[str, object], said: str) -> None:
    assert too_few(job(1, **spec), pools_of(mixed())).text == said


def test_without_any_gpu_that_is_said() -> None:
    assert too_few(job(1), pools_of(Situation(now=T0, jobs=()))).text == "needs 1 GPU and this machine has none"
