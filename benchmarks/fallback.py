"""What past days alone are worth without a forecast: fallback level 3, climatology, compared with simpler rules.

    python benchmarks/fallback.py --data ../shared/data          # half a minute

Recorded hourly grids are imported into a store as history, and the product's own `ZoneOutlook.usual` (28 days, no
forecast) predicts the next hours. A job of 4 h starts where the next 24 h look cleanest, on the hour; of equal windows
it takes the first. The result is the share of what perfect foresight would have saved: sums over all jobs, in grams
per kW.
There are two ways to count. "at once": a job comes every third hour, and is measured against starting when it comes.
"day": it may run at any time of a day (UTC), all of which is planned at midnight, against the mean of the day.
"""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from forecasts import read
from numpy.typing import NDArray

from greenrun.core.carbon.intensity import Kind, Series
from greenrun.core.carbon.verification import WINDOW_H, WITHIN_H, captured
from greenrun.engine.outlook import ZoneOutlook
from greenrun.simulation.memory_grid import GridMemory

Floats = NDArray[np.float64]
Hours = NDArray[np.int64]

GRIDS = {
    "US-CAL-CISO 2021-22": "US-CAL-CISO_2021-2022_actual",
    "DE 2022": "DE_2022",
    "AU-SA 2022": "AU-SA_2022",
    "FR 2022": "FR_2022",
    "IN-MH 2022": "IN-MH_2022",
}
DAYS = 28
EVERY = 3


def lagged(values: Floats, at: Hours, days: int) -> Floats:
    """Return the mean of the last `days` days at each of the next 24 hours, seen from `at`: shape (len(at), 24)."""
    hours = at[:, None] + np.arange(WITHIN_H)
    return np.mean([values[hours - 24 * back] for back in range(1, days + 1)], axis=0)


def rules(values: Floats) -> dict[str, Callable[[Hours], Floats]]:
    """Return what simple rules expect of the next 24 hours, by name."""
    return {
        "28-day mean": lambda at: lagged(values, at, DAYS),
        "7-day mean": lambda at: lagged(values, at, 7),
        "yesterday": lambda at: lagged(values, at, 1),
        "half yesterday, half 7-day mean": lambda at: (lagged(values, at, 1) + lagged(values, at, 7)) / 2,
        "last value held": lambda at: np.repeat(values[at - 1][:, None], WITHIN_H, axis=1),
    }


def climatology(measured: Series, at: Hours) -> Floats:
    """Return what greenrun expects of the next 24 hours, seen from each, when all it knows is what was measured."""
    store = GridMemory()
    store.save_intensities(measured, fetched_at=datetime.fromtimestamp(float(measured.ends_s[-1]), UTC))
    outlooks = ZoneOutlook(store, measured.id.zone, DAYS)  # type: ignore[arg-type]
    seen = np.empty((len(at), WITHIN_H))
    for row, hour in enumerate(at):
        now = datetime.fromtimestamp(float(measured.starts_s[hour]), UTC)
        outlooks.load_measured(now)
        usual = outlooks.usual(now)
        assert usual is not None, "a month of history is known"
        assert usual.start == now, "the grids are hourly"
        seen[row] = usual.values[:WITHIN_H]
    return seen


def windows(rows: Floats) -> Floats:
    """Return the mean of each window of a job's length: shape (n, 21)."""
    return np.lib.stride_tricks.sliding_window_view(rows.round(6), WINDOW_H, axis=1).mean(axis=2)


def captured_of_day(seen: Floats, truth: Floats) -> float:
    """Return the share of the perfect saving, against the mean of the day."""
    came, mean = windows(truth), truth.mean(axis=1)
    chosen = came[np.arange(len(came)), windows(seen).argmin(axis=1)]
    return float((mean - chosen).sum() / (mean - came.min(axis=1)).sum())


def main() -> None:
    """Print a line for each grid and rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds intensity/")
    options = parser.parse_args()
    print("| grid | could be saved | rule | at once | day |\n|---|---|---|---|---|")
    for name, file in GRIDS.items():
        measured = read(options.data / "intensity" / f"{file}.csv", Kind.MEASURED)
        at = np.arange(DAYS * 24, len(measured) - WITHIN_H + 1, EVERY)
        midnights = at % 24 == 0
        truth = measured.values[at[:, None] + np.arange(WITHIN_H)]
        came = windows(truth)
        perfect = 100 * float(1 - came.min(axis=1).sum() / came[:, 0].sum())
        seen = {"**greenrun without a forecast**": climatology(measured, at)}
        seen |= {rule: expect(at) for rule, expect in rules(measured.values).items()}
        for rule, rows in seen.items():
            share = captured(rows.round(6), truth) or 0.0
            day = captured_of_day(rows[midnights], truth[midnights])
            print(f"| {name} | {perfect:.1f} % | {rule} | {100 * share:.1f} % | {100 * day:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
