"""Under which heading the help of a command with many options lists each of them."""

from collections.abc import Mapping, Sequence

Headings = Mapping[str, Sequence[str]]  # the options, by their long names, under each heading in order

REST = "Options"  # what is under no heading

OF_JOBS: Headings = {
    "What to run": ("file", "workdir", "container", "env", "env-file", "log", "array", "grid"),
    "When": (
        "duration", "time-limit", "now", "finish-by", "max-delay", "start-after", "after", "expire", "priority",
        "min-saving", "run-below",
    ),
    "GPUs and other resources": (
        "gpus", "gpu-model", "gpu-memory", "shared", "gpu-ids", "power", "power-cap", "mem", "cpus", "io-weight",
    ),
    "Suspension": (
        "interruptible", "min-run", "restart-cost", "grace", "checkpoint-signal", "checkpoint-exit-code",
    ),
    "Failures and notices": ("retries", "retry-on", "stop-on", "notify"),
    "Names": ("name", "project", "label", "unique"),
}  # fmt: skip

OF_SIMULATIONS: Headings = {
    "What is simulated": (
        "gpus", "jobs", "intensity", "start", "history", "forecast", "horizon", "history-jobs", "site", "power-cap",
        "share",
    ),
    "What is changed of the jobs": ("max-delay", "interruptible", "restart-cost"),
    "What is compared and written": ("policy", "schedule-out", "plot", "json"),
}  # fmt: skip

OF_ESTIMATES: Headings = {
    "How much work it is": ("gpu-hours", "flops", "params", "tokens", "mfu"),
    "On which GPUs": ("gpus", "gpu-model", "peak-flops", "power", "pue"),
    "Where and when": ("zone", "intensity", "at", "finish-by", "max-delay"),
}


def by_heading(names: Sequence[str], headings: Headings) -> list[tuple[str, list[str]]]:
    """Return these options under their headings, each once; those under none come last, as they came."""
    found = [(heading, [name for name in own if name in names]) for heading, own in headings.items()]
    known = {name for own in headings.values() for name in own}
    found.append((REST, [name for name in names if name not in known]))
    return [(heading, own) for heading, own in found if own]
