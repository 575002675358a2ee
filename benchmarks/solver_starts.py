"""Solve one queue with HiGHS or CP-SAT; runs in an environment that has them, reads JSON and prints JSON.

Starts are on a grid, with one binary variable for each job and start, and lengths are rounded up to the grid; `costs`
are the exact grams of each start. HiGHS gets the GPUs in use in each slot of the grid as linear rows, CP-SAT gets them
as a cumulative constraint, which is its own way of saying it. One thread; stop at a gap of 0.01 % or at the limit, in
processor seconds, or at 1.25 times as many of wall-clock time.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

GAP = 1e-4
UNITS_PER_G = 100  # CP-SAT wants whole numbers
WALL_PER_CPU = 1.25  # on a busy machine, the most wall-clock seconds for a second of the limit


def watch(limit_s: float, done: threading.Event, stop: Callable[[], object]) -> None:
    """Stop a solver once this process has used its processor seconds."""
    end_s = time.process_time() + limit_s
    while not done.wait(0.05):
        if time.process_time() >= end_s:
            stop()
            return


def highs(asked: dict[str, Any]) -> dict[str, Any]:
    """Solve a mixed-integer program with columns job by job."""
    import highspy
    import numpy as np

    jobs, slots = asked["jobs"], asked["slots"]
    lp, count = highspy.HighsLp(), len(jobs)
    rows, sizes, values = [], [], []
    for number, job in enumerate(jobs):
        starts = np.arange(len(job["costs"]))[:, None] + job["first"]
        inside = count + starts + np.arange(job["length"])
        own = np.hstack([np.full((len(starts), 1), number), inside])
        rows.append(own.ravel())
        sizes.append(np.full(len(starts), own.shape[1]))
        values.append(np.tile([1.0, *[float(job["gpus"])] * job["length"]], len(starts)))
    costs = np.concatenate([job["costs"] for job in jobs])
    lp.num_col_, lp.num_row_ = len(costs), count + slots
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = costs, np.zeros(len(costs)), np.ones(len(costs))
    lp.row_lower_ = np.concatenate([np.ones(count), np.full(slots, -highspy.kHighsInf)])
    lp.row_upper_ = np.concatenate([np.ones(count), np.full(slots, float(asked["gpus"]))])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int32)
    lp.a_matrix_.index_ = np.concatenate(rows).astype(np.int32)
    lp.a_matrix_.value_ = np.concatenate(values)
    lp.integrality_ = [highspy.HighsVarType.kInteger] * len(costs)
    solver = highspy.Highs()
    solver.HandleUserInterrupt = True
    settings = {"output_flag": False, "threads": 1, "mip_rel_gap": GAP, "time_limit": WALL_PER_CPU * asked["limit_s"]}
    for name, value in settings.items():
        solver.setOptionValue(name, value)
    solver.passModel(lp)
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(asked["limit_s"], done, solver.cancelSolve))
    began_s = time.process_time()
    watcher.start()
    solver.solve()
    used_s = time.process_time() - began_s
    done.set()
    info = solver.getInfo()
    found = info.primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible)
    starts_at: list[int] | None = None
    if found:
        chosen, at = np.array(solver.getSolution().col_value), 0
        starts_at = []
        for job in jobs:
            starts_at.append(int(np.argmax(chosen[at : at + len(job["costs"])])) + job["first"])
            at += len(job["costs"])
    proved = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    bound_g = info.mip_dual_bound if abs(info.mip_dual_bound) < highspy.kHighsInf else None
    return {"version": version("highspy"), "starts": starts_at, "cpu_s": used_s, "proved": proved, "bound_g": bound_g}


def cp_sat(asked: dict[str, Any]) -> dict[str, Any]:
    """Solve a constraint program: an interval of fixed length for each job, and a cumulative constraint."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    starts, intervals, terms, weights = [], [], [], []
    for job in asked["jobs"]:
        choices = [model.new_bool_var("") for _ in job["costs"]]
        places = range(job["first"], job["first"] + len(choices))
        start = model.new_int_var(places[0], places[-1], "")
        model.add_exactly_one(choices)
        model.add(start == cp_model.LinearExpr.weighted_sum(choices, list(places)))
        starts.append(start)
        intervals.append(model.new_fixed_size_interval_var(start, job["length"], ""))
        terms += choices
        weights += [round(UNITS_PER_G * cost) for cost in job["costs"]]
    model.add_cumulative(intervals, [job["gpus"] for job in asked["jobs"]], asked["gpus"])
    model.minimize(cp_model.LinearExpr.weighted_sum(terms, weights))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.relative_gap_limit = GAP
    solver.parameters.max_time_in_seconds = WALL_PER_CPU * asked["limit_s"]
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(asked["limit_s"], done, solver.stop_search))
    began_s = time.process_time()
    watcher.start()
    status = solver.solve(model)
    used_s = time.process_time() - began_s
    done.set()
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return {
        "version": version("ortools"),
        "starts": [solver.value(start) for start in starts] if found else None,
        "cpu_s": used_s,
        "proved": status == cp_model.OPTIMAL,
        "bound_g": solver.best_objective_bound / UNITS_PER_G,
    }


if __name__ == "__main__":
    print(json.dumps({"highs": highs, "cp-sat": cp_sat}[sys.argv[1]](json.load(sys.stdin))))
