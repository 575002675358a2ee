"""The environment variables that greenrun sets for a run itself, whatever its job says of them."""

from collections.abc import Iterable

GPU_VARIABLES = frozenset({
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
})  # fmt: skip
RUN_VARIABLES = frozenset({
    "GREENRUN_JOB_ID", "GREENRUN_RUN", "GREENRUN_ATTEMPT", "GREENRUN_RUN_TOKEN", "GREENRUN_CHECKPOINT_DIR",
    "GREENRUN_CHECKPOINT_SIGNAL", "GREENRUN_CHECKPOINT_EXIT_CODE", "GREENRUN_PROGRESS", "GREENRUN_CPUS",
})  # fmt: skip
FINISH_BY = "GREENRUN_FINISH_BY"  # of a job that has one
ARRAY_VARIABLES = ("GREENRUN_ARRAY_INDEX", "GREENRUN_ARRAY_SIZE")  # of a job of an array or a grid
OVERWRITTEN = GPU_VARIABLES | RUN_VARIABLES  # of every job, so that no value of its user's gets there


def why_overwritten(names: Iterable[str], also: Iterable[str] = ()) -> str | None:
    """Say which of these variables greenrun sets itself, those of `also` too, and what to do; None for none of them."""
    found = sorted(set(names) & (OVERWRITTEN | set(also)))
    if not found:
        return None
    advice = (
        "leave it out" if GPU_VARIABLES.isdisjoint(found) else "ask for GPUs by --gpus, --gpu-model or --gpu-memory"
    )
    return f"{found[0]} is set by greenrun itself, which would overwrite the value given: {advice}"
