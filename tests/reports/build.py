"""A store with a few weeks of scripted books: reloads, holes, restarts, failures and a source that falls silent."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from greenrun.core.accounting.embodied import Embodied
from greenrun.core.accounting.market_based import Contract, Contracts
from greenrun.core.accounting.step_function import Span, Steps
from greenrun.core.accounting.weekly import Rule, Weekly, parse_days
from greenrun.core.carbon.intensity import Basis, Kind, Series, SeriesId, Slot
from greenrun.core.energy.baseline import compare
from greenrun.core.energy.ledger import UNPRICED, Entry, Priced
from greenrun.core.energy.model import Component, Device, Mark, Quality, Slice
from greenrun.core.jobs.job import JobSpec, Outcome, State
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.core.units import emissions_g
from greenrun.reports.build import Reports, ReportSettings
from greenrun.reports.cost_and_scope2 import Bases
from greenrun.store import Store

T0 = datetime(2026, 10, 28, tzinfo=UTC)
HOUR, CUT = timedelta(hours=1), timedelta(minutes=10)
DAYS = 12
END = T0 + timedelta(days=DAYS)
NOW = END + timedelta(days=5)
UK = SeriesId(provider="uk", zone="GB", basis=Basis.LIFECYCLE)
PUE = 1.25
WHY = Reason(ReasonCode.DUE, "its planned window has come")
GPUS = [Device(id=f"GPU-{index}", index=index, model="A100", source="nvml") for index in range(3)]
NAMES = ("train", "=cmd|' /C calc'!A0", "<script>alert(1)</script>", 'größer; "a,b"\nc')
BERLIN = ZoneInfo("Europe/Berlin")
BY_DAY = Rule(days=parse_days("mon-fri"), start_min=7 * 60, end_min=23 * 60, value=0.34)
TARIFF = Weekly.of([BY_DAY], 0.22, BERLIN)
MIDDLE = T0 + timedelta(hours=20, minutes=13)
PPA = Contract(source="PPA", factors=Steps.of([Span(T0, MIDDLE, 5.0)]), share=0.8)
ALL_BASES = Bases(
    price=TARIFF.steps,
    currency="EUR",
    attribution="Prices: <somebody>",
    contracts=lambda: Contracts(rows=[PPA], residual_g_per_kwh=500.0),
    embodied=Embodied(source="an assessment", g_per_gpu_hour=27.0),
    td_loss_ratio=0.05,
    water_l_per_kwh=1.8,
)


def intensity(at: datetime) -> float:
    """What was measured in the half hour of an instant, in g/kWh."""
    return 100.0 + 150.0 * random.Random(int(at.timestamp() // 1800)).random()


def values() -> Series:
    """The measured half hours of the whole time."""
    starts = [T0 + timedelta(minutes=30 * index) for index in range(DAYS * 48)]
    return Series.of(UK, [Slot(at, at + HOUR / 2, intensity(at), Kind.MEASURED) for at in starts])


def fill(store: Store, jobs: int, seed: int = 1, settled: float = 0.98) -> None:
    """Book this many jobs on three GPUs, with all that can go wrong; that part of the slices is settled."""
    dice = random.Random(seed)
    store.grid.save_intensities(values(), fetched_at=NOW)
    free = {device.id: T0 for device in GPUS}
    entries: list[Entry] = []
    for number in range(jobs):
        device = min(free, key=lambda name: free[name])
        start, length = free[device], dice.randint(1, 12) * CUT
        run_id = _run(store, number, device, start, start + length, dice)
        for piece in _pieces(device, run_id, start, start + length, dice):
            entries.append(_entry(piece, dice))
        gap = dice.choice([0, 0, 1, 3]) * CUT
        for piece in _pieces(device, None, start + length, start + length + gap, dice):
            entries.append(_entry(piece, dice))
        free[device] = start + length + gap
    marks = [Mark(device=name, at=at, energy_j=0, counter="c", session="s") for name, at in free.items()]
    store.books.append_slices(entries, marks, now=END)
    settle(store, settled, dice)


def reports_of(store: Store) -> Reports:
    """What makes reports of a store."""
    return Reports(store.archive, lambda: GPUS, ReportSettings(zone="GB", pue=PUE, attributions={"uk": "Data: <NESO>"}))


def _run(store: Store, number: int, device: str, start: datetime, end: datetime, dice: random.Random) -> int:
    name, project = NAMES[number % len(NAMES)], f"project {number % 5}"
    spec = JobSpec(command=("a",), workdir="/", name=name, project=project, duration=end - start)
    submitted_at = max(T0, start - dice.randint(0, 40) * CUT)
    job, _ = store.jobs.add_jobs([spec], user=f"user {number % 3}", uid=1, now=submitted_at)[0]
    run = store.runs.claim(job.id, [device], reason=WHY, now=start)
    assert run is not None
    store.runs.confirm(run.id, started_at=start, log=None, now=start)
    failed = dice.random() < 0.1
    store.runs.close_run(
        run.id,
        outcome=dice.choice([Outcome.FAILED, Outcome.LOST]) if failed else Outcome.SUCCEEDED,
        exit_code=1 if failed else 0,
        started_at=start,
        ended_at=end,
        log=None,
        job_state=State.FAILED if failed else State.SUCCEEDED,
        reason=WHY,
        now=end,
    )
    return run.id


def _pieces(device: str, run_id: int | None, start: datetime, end: datetime, dice: random.Random) -> Iterator[Slice]:
    """Slices of ten minutes, cut at the slots' edges as well: a reload is unknown, a restart bridged."""
    while start < end:
        quality = dice.choices(
            [Quality.MEASURED, Quality.BRIDGED, Quality.INTEGRATED, Quality.UNKNOWN],
            [90, 4, 4, 2 * (dice.random() < 0.5)],
        )[0]
        energy_j = None if quality is Quality.UNKNOWN else dice.uniform(30_000, 200_000)
        yield Slice(
            device=device, component=Component.GPU, run_id=run_id, start=start, end=start + CUT,
            energy_j=energy_j, quality=quality,
        )  # fmt: skip
        start += CUT


def _entry(piece: Slice, dice: random.Random) -> Entry:
    if dice.random() < 0.02:  # no provider answered
        return Entry(slice=piece, pue=PUE, booked=UNPRICED)
    told = intensity(piece.start) * dice.uniform(0.7, 1.3)
    return Entry(slice=piece, pue=PUE, booked=_priced(piece, told, Kind.FORECAST))


def settle(store: Store, part: float = 1.0, dice: random.Random | None = None) -> None:
    """Settle that part of what waits for it, and compare the runs that are settled then with an earlier start."""
    chance = (dice or random.Random(1)).random
    rows = [row for row in store.books.unsettled(NOW, limit=100_000) if chance() < part]
    store.books.settle({key: _priced(piece, intensity(piece.start), Kind.MEASURED) for key, piece, _ in rows}, now=NOW)
    measured = {UK: values()}
    while ready := store.baselines.comparable(store.baselines.uncompared(NOW, limit=100_000), NOW):
        store.baselines.book_baselines([compare(run, measured) for run in ready], now=NOW)


def _priced(piece: Slice, g_per_kwh: float, kind: Kind) -> Priced:
    grams = None if piece.energy_j is None else emissions_g(piece.energy_j, g_per_kwh, PUE)
    return Priced(intensity_g_per_kwh=g_per_kwh, emissions_g=grams, kind=kind, series=UK)
