"""`greenrun measure`: measure the energy of a command or a period with this machine's own meters."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from greenrun.cli import foreground, text
from greenrun.cli.command import OK, USAGE, Command, LocalError
from greenrun.cli.options import chosen, config_path, daemon_options, print_json
from greenrun.cli.tables import plain_lines
from greenrun.cli.terminal.log_lines import log_to_stderr
from greenrun.core.formatting import duration_text, energy_text, power_text
from greenrun.submission.times import parse_duration

if TYPE_CHECKING:
    from greenrun.measuring import Measurement, Result
    from greenrun.measuring.result import MeasuredDevice


@click.command("measure", cls=Command, context_settings={"allow_interspersed_args": False})
@click.argument("command", metavar="[--] COMMAND", nargs=-1, type=click.UNPROCESSED)
@click.option("--for", "lasts", metavar="D", help="Measure the machine for so long, like 20s; no command.")
@click.option("--meter", metavar="NAMES", help="GPU meters to try, like nvml; else the settings'.")
@click.option("--cpu-meter", metavar="NAMES", help="CPU meters to try; else the settings'.")
@click.option("--output", metavar="FILE", help="Write the JSON there, not to stdout.")
@daemon_options
@click.pass_context
def measure(
    ctx: click.Context,
    command: tuple[str, ...],
    lasts: str | None,
    meter: str | None,
    cpu_meter: str | None,
    output: str | None,
    as_json: bool,
    socket: str | None,
    config: str | None,
) -> None:
    """Measure the energy and emissions of a command, of a while, or until Ctrl-C; neither daemon nor settings needed.

    It measures the machine's devices while the command runs, not the command alone; where CUDA_VISIBLE_DEVICES names
    GPUs, those alone. Exits with the command's own code, 128 + N where signal N ended it; the summary goes to stderr
    then, and --json prints to stdout once the command has ended. What cannot be read is unknown, with the reason, and
    stops nobody.

    \b
    greenrun measure -- python train.py --epochs 3
    greenrun measure --for 20s --json
    greenrun measure --output energy.json -- make test
    """
    seconds = _seconds(lasts, command)
    with ExitStack() as parts:
        file = parts.enter_context(_opened(output)) if output else None
        parts.enter_context(foreground.held_signals())
        measurement = _measurement(ctx, meter, cpu_meter, socket, config)
        measurement.is_hurried = foreground.is_signalled
        with measurement:
            for refusal in measurement.refusals:
                print(text.printable(f"not measured: {refusal}"), file=sys.stderr)
            if not command and seconds is None:  # else it looks like a command that hangs
                print("measuring this machine until Ctrl-C", file=sys.stderr, flush=True)
            code = _ran(measurement, command) if command else _waited(seconds)
        result = measurement.result
        if command:
            result = _with_exit_code(result, code)
        with _code_kept(code if command else None):
            _tell(result, file, as_json=as_json, is_command=bool(command))
    raise click.exceptions.Exit(code)


@contextmanager
def _code_kept(code: int | None) -> Iterator[None]:
    """Keep the command's exit code when the result cannot be written."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as exc:
        if code is None:
            raise
        raise LocalError(f"what was measured cannot be written ({exc.strerror}); the command ran", code) from exc


def _seconds(lasts: str | None, command: Sequence[str]) -> float | None:
    if lasts is None:
        return None
    if command:
        raise LocalError("--for is without a command: a command is measured until it ends; leave one out", USAGE)
    try:
        seconds = parse_duration(lasts).total_seconds()
    except ValueError as exc:
        raise LocalError(f"--for: {exc}", USAGE) from exc
    if seconds <= 0:
        raise LocalError("--for: it must be longer than nothing, like 20s", USAGE)
    return seconds


def _opened(output: str) -> TextIO:
    """Open the file before anything runs: a wrong path must not cost a night's measurement."""
    try:
        return Path(output).expanduser().open("w", encoding="utf-8")
    except OSError as exc:
        raise LocalError(f"--output: {output} cannot be written ({exc.strerror}); nothing was run", USAGE) from exc


def _measurement(
    ctx: click.Context, meter: str | None, cpu_meter: str | None, socket: str | None, config: str | None
) -> "Measurement":
    from greenrun.measuring import measure

    log_to_stderr()

    return measure(
        meter=meter or (), cpu_meter=cpu_meter or (), config=config_path(ctx, config),
        socket=chosen(ctx, "socket", socket),
    )  # fmt: skip


def _ran(measurement: "Measurement", command: Sequence[str]) -> int:
    """Run a command to its end; where it cannot be run, there is nothing to wait for."""
    try:
        return foreground.run_command(command)
    except LocalError:
        measurement.is_hurried = lambda: True
        raise


def _waited(seconds: float | None) -> int:
    """Wait; without a limit Ctrl-C is the end that was meant."""
    ended_by = foreground.wait(seconds)
    return OK if ended_by is None or seconds is None else foreground.SIGNALED + ended_by


def _with_exit_code(result: "Result", code: int) -> "Result":
    from dataclasses import replace

    return replace(result, exit_code=code)


def _tell(result: "Result", file: TextIO | None, *, as_json: bool, is_command: bool) -> None:
    if file is not None:
        with file:
            print(json.dumps(result.to_dict(), ensure_ascii=False), file=file)
    elif as_json:
        print_json(result.to_dict())
    if file is not None or not as_json:
        for line in _lines(result):
            print(text.printable(line), file=sys.stderr if is_command else sys.stdout, flush=True)


def _lines(result: "Result") -> Iterator[str]:
    yield str(result)
    if result.devices:
        columns = ("device", "model", "energy", "power", "quality", "not read")
        yield from plain_lines(columns, [_row(each) for each in result.devices], right=("energy", "power", "not read"))
    if result.energy_j is not None:
        yield from (f"{device.id}: {device.reason}" for device in result.devices if device.reason)
    yield from result.notes


def _row(device: "MeasuredDevice") -> list[str]:
    model = device.model + " EMULATED" * device.emulated + " (not in the sum)" * (not device.in_total)
    gap = duration_text(device.gap_s) if device.gap_s else "-"
    return [
        f"{device.kind} {device.index}",
        model,
        energy_text(device.energy_j),
        power_text(device.power_w),
        device.quality,
        gap,
    ]
