"""`greenrun init`: write settings for this machine and zone, ask the source once, and offer the systemd user unit."""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from greenrun.cli.command import USAGE, Command, LocalError
from greenrun.cli.options import chosen, config_option, json_option, print_json
from greenrun.cli.output import write_whole
from greenrun.clock import utc_now
from greenrun.core.errors import InputProblem, InvalidInput
from greenrun.paths import SYSTEM_CONFIG

if TYPE_CHECKING:
    from greenrun.config import Config
    from greenrun.doctor.device_checks import Found
    from greenrun.grid.choice import SourceChoice
    from greenrun.grid.sources import Checked

NO_ZONE = "none"
MOST_EMULATED = 64


@dataclass(slots=True)
class Initialised:
    """What init wrote and found, for people and for programs."""

    path: Path
    choice: "SourceChoice | None"
    config: "Config"
    found: "Found"
    kept: Path | None = None
    answers: "list[Checked]" = field(default_factory=list)
    unit: Path | None = None
    unit_note: str = ""
    system_files: Sequence[Path] = ()


@click.command("init", cls=Command)
@click.option(
    "--zone", metavar="ZONE", help=f"Where this machine is, like GB, DE or US-CAL-CISO; '{NO_ZONE}' for no zone."
)
@click.option(
    "--emulated-gpus", "emulated", metavar="N", type=click.IntRange(1, MOST_EMULATED), help="So many imaginary GPUs."
)
@click.option("--unit/--no-unit", default=None, help="Write the systemd user unit, or do not; else it asks.")
@click.option("--system", is_flag=True, help="Set up the daemon of a whole machine, as root: docs/system-mode.md.")
@click.option("--force", is_flag=True, help="Replace the settings file; the old one is kept beside it.")
@click.option("--yes", "-y", is_flag=True, help="Ask nothing: take --zone and what is found.")
@json_option
@config_option
@click.pass_context
def init(
    ctx: click.Context,
    zone: str | None,
    emulated: int | None,
    unit: bool | None,
    system: bool,
    force: bool,
    yes: bool,
    as_json: bool,
    config: str | None,
) -> None:
    """Write settings for this machine: its GPUs, its zone, and a source of carbon intensity that needs no key.

    Where every source of the zone needs a key, it says which to get; meanwhile a yearly mean serves, called so. The
    source is asked once, and what it says is shown; without a network the settings are written all the same.

    \b
    greenrun init
    greenrun init --zone GB --yes
    greenrun init --zone DE --emulated-gpus 2 --config ./greenrun.toml
    sudo greenrun init --system --zone GB
    """
    path = _target(chosen(ctx, "config", config), is_system=system)
    if system and unit:
        raise LocalError("--unit is the unit of one user, and --system writes that of the machine: give one", USAGE)
    asks = not yes and not as_json and sys.stdin.isatty()
    if unit and zone is None and path.is_file() and not force:
        _give_unit_alone(path, as_json=as_json)
        return
    if zone is None and asks:
        _require_usable(NO_ZONE, path, force=force)  # before anybody types an answer
        zone = _asked_zone()
    zone = _spelled(zone)
    _require_usable(zone, path, force=force)
    done = _written(zone or NO_ZONE, path, emulated, is_system=system)
    if done.config.grid.provider:
        from greenrun.doctor.source_checks import ask_each

        done.answers = ask_each(done.config, utc_now())
    if not system:
        _offer_unit(done, unit, asks=asks, yes=yes)
    if as_json:
        print_json(_json(done))
    else:
        for line in _lines(done):
            print(line)


def _spelled(zone: str | None) -> str | None:
    """Return a zone as it is written, where only its case differs."""
    from greenrun.core.reference.zones import is_zone

    return zone.strip().upper() if zone and is_zone(zone.strip().upper()) else zone


def _target(named: str | None, *, is_system: bool) -> Path:
    """Return the file to write: the one that is named, or else the machine's or the user's own."""
    given = named or os.environ.get("GREENRUN_CONFIG")
    if given:
        return Path(given).expanduser().absolute()
    return SYSTEM_CONFIG if is_system else _usual()


def _usual() -> Path:
    base = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    return base.absolute() / "greenrun" / "greenrun.toml"


def _asked_zone() -> str:
    from greenrun.grid.choice import zone_problem

    print("Where is this machine? A zone like GB, DE or US-CAL-CISO; `greenrun zones --search COUNTRY` finds yours.")
    while True:
        zone = str(click.prompt(f"Zone ('{NO_ZONE}': emissions stay unknown)")).strip()
        problem = None if zone == NO_ZONE else zone_problem(_spelled(zone) or zone)
        if problem is None:
            return zone
        print(f"  {problem.message}")


def _require_usable(zone: str | None, path: Path, *, force: bool) -> None:
    """Raise InvalidInput with everything that is wrong."""
    problems = [*_zone_problems(zone), *_path_problems(path, force=force)]
    if problems:
        listed = "; ".join(str(problem) for problem in problems)
        raise InvalidInput(f"nothing was written: {listed}", problems)


def _zone_problems(zone: str | None) -> Iterator[InputProblem]:
    from greenrun.grid.choice import zone_problem

    if zone is None:
        message = f"is required: greenrun never guesses where it is (`greenrun zones --search COUNTRY`); or '{NO_ZONE}'"
        yield InputProblem(field="--zone", message=message)
    elif zone != NO_ZONE and (problem := zone_problem(zone)):
        yield problem


def _path_problems(path: Path, *, force: bool) -> Iterator[InputProblem]:
    folder = next(each for each in path.parents if each.exists())
    if path.is_dir():
        yield InputProblem(field="--config", message=f"{path} is a folder; name a file in it")
    elif path.exists() and not force:
        yield InputProblem(
            field="--config", message=f"{path} exists: --force replaces it and keeps the old one beside it"
        )
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield InputProblem(field="--config", message=f"you may not write in {folder}; name another file with --config")


def _written(zone: str, path: Path, emulated: int | None, *, is_system: bool) -> Initialised:
    """Look at the machine, choose the sources, and write the settings."""
    from greenrun.cli.setup.settings_file import settings_text
    from greenrun.cli.setup.system_files import MODE, write_system_files
    from greenrun.config import load_config
    from greenrun.doctor.device_checks import find_devices
    from greenrun.grid.choice import choose_sources, has_key
    from greenrun.meters import EmulatedSettings, MeterSettings
    from greenrun.meters.settings import GPU_METERS

    kinds = ("emulated",) if emulated else GPU_METERS
    machine = EmulatedSettings(gpus=emulated or 1)
    found = find_devices(MeterSettings(kinds=kinds, cpu_kinds=("rapl", "none"), emulated=machine))
    choice = None if zone == NO_ZONE else choose_sources(zone)
    uses_key = choice is not None and choice.open is None and has_key(choice, path.parent)
    meter = found.source if found.gpus else None
    text = settings_text(choice, meter, found.gpus, reads_cpu=len(found.devices) > len(found.gpus), uses_key=uses_key)
    system_files = write_system_files() if is_system else []  # which writes none, if one of them cannot be
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = _kept(path)
    write_whole(path, f"{MODE}{text}" if is_system else text)
    if is_system:
        path.chmod(0o644)  # all users' command lines find the socket by it
    config = load_config(path)
    return Initialised(path=path, choice=choice, config=config, found=found, kept=kept, system_files=system_files)


def _kept(path: Path) -> Path | None:
    """Move the settings that are there out of the way, over nothing that is there; return where they are now."""
    if not path.exists():
        return None
    names = (path.with_name(f"{path.name}.old{number or ''}") for number in range(1000))
    kept = next(name for name in names if not name.exists())
    path.rename(kept)
    return kept


def _offer_unit(done: Initialised, unit: bool | None, *, asks: bool, yes: bool) -> None:
    """Write the systemd user unit where it is wanted."""
    from greenrun.cli.setup.user_unit import has_user_manager, unit_path

    if unit is None and has_user_manager(os.environ):
        question = f"Write the systemd user unit, {unit_path(os.environ)}?"
        unit = yes or (asks and click.confirm(question, default=True))
    if unit:
        done.unit, done.unit_note = _unit_for(done.path)


def _unit_for(config: Path) -> tuple[Path | None, str]:
    """Write the unit and return where it is; one that is there and differs is left as it is, and that is said."""
    from greenrun.cli.setup.user_unit import unit_path, unit_text

    target, text = unit_path(os.environ), unit_text(None if config == _usual() else config)
    if target.exists() and target.read_text(encoding="utf-8", errors="replace") != text:
        return None, f"{target} is there and differs, so it was left as it is; delete it and repeat to have a new one"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, text)
    return target, ""


def _give_unit_alone(config: Path, *, as_json: bool) -> None:
    from greenrun.cli.setup.user_unit import START

    unit, note = _unit_for(config)
    if as_json:
        print_json({"config": str(config), "unit": str(unit) if unit else None, "unit_note": note or None})
    else:
        said = f"wrote {unit}\nnext:\n  {' && '.join(START)}" if unit else f"systemd: {note}"
        print(f"{config} was left as it is\n{said}")


# what it says


def _lines(done: Initialised) -> Iterator[str]:
    yield f"wrote {done.path}" + (f"; the old one is {done.kept}" if done.kept else "")
    yield from _zone_lines(done)
    yield from _device_lines(done)
    yield from _unit_lines(done)
    yield "next:"
    yield from (f"  {line}" for line in _next_lines(done))


def _zone_lines(done: Initialised) -> Iterator[str]:
    from greenrun.cli.text import printable
    from greenrun.core.formatting import localized_text
    from greenrun.doctor.source_checks import judge
    from greenrun.grid.choice import KEYS

    choice = done.choice
    if choice is None:
        yield "zone: none, so emissions are unknown and jobs start at once"
        return
    yield f"zone: {choice.zone}" + (f" ({choice.name})" if choice.name else "")
    if choice.keyed and _waits_for_key(done, choice):
        meanwhile = "its yearly mean, an estimate, serves" if done.config.grid.provider else "nothing of [grid] is set"
        yield f"  forecasts of it need {KEYS[choice.keyed]}; until then {meanwhile}: {done.path} says how to go on"
    for finding in judge(done.config, done.answers):
        yield f"  {printable(localized_text(finding.text))}"
    if any(answer.forecast is None for answer in done.answers):
        yield "  what does not answer is asked again by the daemon; `greenrun providers check` asks at once"


def _waits_for_key(done: Initialised, choice: "SourceChoice") -> bool:
    """Whether no forecast can be had before a key is."""
    return choice.open is None and choice.keyed not in done.config.grid.provider


def _device_lines(done: Initialised) -> Iterator[str]:
    from greenrun.doctor.device_checks import gpu_text

    found = done.found
    yield f"GPUs: {len(found.gpus)}" + (f", read by {found.source}" if found.gpus else "")
    yield from (f"  {gpu_text(device)}" for device in found.gpus)
    if not found.gpus:
        yield from (f"  {refusal}" for refusal in found.refusals if not refusal.startswith("rapl: "))
        yield "  jobs with --gpus 0 run; `greenrun init --emulated-gpus 2 --force` is for a trial without GPUs"


def _unit_lines(done: Initialised) -> Iterator[str]:
    if done.unit_note:
        yield f"systemd: {done.unit_note}"
    for path in (*([done.unit] if done.unit else []), *done.system_files):
        yield f"wrote {path}"


def _next_lines(done: Initialised) -> Iterator[str]:
    from greenrun.cli.setup.system_files import NEXT
    from greenrun.cli.setup.user_unit import START

    if done.system_files:
        yield from NEXT
        return
    config = "" if done.path == _usual() else f" --config {shlex.quote(str(done.path))}"
    gpus = "" if done.found.gpus else "--gpus 0 "
    if done.unit is not None:
        yield " && ".join(START)
    else:
        yield f"greenrun serve --detach{config}"
    yield f"greenrun submit{config} {gpus}--duration 1h -- python train.py"
    yield f"greenrun doctor{config}"


def _json(done: Initialised) -> dict[str, Any]:
    from greenrun.cli.grid.providers import checked_json

    choice = done.choice
    return {
        "config": str(done.path),
        "kept": str(done.kept) if done.kept else None,
        "zone": choice.zone if choice else None,
        "providers": list(done.config.grid.provider),
        "needs_key": choice.keyed if choice and _waits_for_key(done, choice) else None,
        "meter": done.found.source,
        "gpus": [
            {"id": device.id, "index": device.index, "model": device.model, "emulated": device.emulated}
            for device in done.found.gpus
        ],
        "refusals": list(done.found.refusals),
        "sources": [checked_json(answer) for answer in done.answers],
        "unit": str(done.unit) if done.unit else None,
        "unit_note": done.unit_note or None,
        "system_files": [str(path) for path in done.system_files],
    }
