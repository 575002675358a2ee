"""The settings file that `greenrun init` writes: short, for this machine and zone, every line explained. Pure text."""

from collections.abc import Iterator, Sequence

from greenrun.core.energy.model import Device
from greenrun.core.formatting import number_text
from greenrun.grid.choice import ENTSOE, KEY_FILES, KEYS, MAPS, STATIC, UK, WATTTIME, SourceChoice

MEAN = "yearly_mean"
_NAMES = {UK: "uk"}  # of providers; else a kind's own
_COLUMN = 40
_HEAD = """\
# greenrun's settings for this machine, written by `greenrun init`. `greenrun config example` explains every setting
# there is, `greenrun config show` prints what is in effect, `greenrun doctor` checks it. Changes take effect when the
# daemon is started again.
"""


def settings_text(
    choice: SourceChoice | None, meter: str | None, gpus: Sequence[Device], *, reads_cpu: bool, uses_key: bool
) -> str:
    """Return the file. `meter` None: no GPU was found, so the default stands; `uses_key`: its key lies beside it."""
    parts = ["\n".join(_grid(choice, uses_key=uses_key)), "\n".join(_devices(meter, gpus, reads_cpu=reads_cpu))]
    return _HEAD + "\n" + "\n\n".join(parts) + "\n"


def _grid(choice: SourceChoice | None, *, uses_key: bool) -> Iterator[str]:
    yield "[grid]"
    if choice is None:
        yield "# Without a zone energy is measured, emissions are unknown, and jobs start at once."
        yield "# `greenrun zones --search COUNTRY` finds yours, and `greenrun init --zone ZONE --force` writes it here."
        yield '#zone = "GB"'
        return
    live = choice.keyed if uses_key else choice.open
    own = live and _NAMES.get(live, live)
    names = [name for name in (own, MEAN if choice.mean_g_per_kwh is not None else None) if name]
    mark = "" if names else "#"
    if not names:
        yield f"# No source of {choice.zone} works without a key."
        yield "# Until one is set, emissions are unknown and jobs start at once."
    yield _line(f'{mark}zone = "{choice.zone}"', choice.name)
    listed = ", ".join(f'"{name}"' for name in names or [str(choice.keyed)])
    yield _line(f"{mark}provider = [{listed}]", "in this order: the first that covers the hours ahead is used")
    if live and own:
        yield _line(f'history_provider = "{own}"', "measured values, by which the books are settled")
        yield from ("", *_block(own, live, choice))
    if choice.mean_g_per_kwh is not None:
        yield from ("", *_mean(choice, behind=own))
    if live is None and choice.keyed:
        yield from ("", *_keyed(choice, choice.keyed, is_first=not names))


def _mean(choice: SourceChoice, behind: str | None) -> Iterator[str]:
    yield f"[provider.{MEAN}]"
    mean = f"{number_text(choice.mean_g_per_kwh)} g/kWh, {choice.zone}'s mean of {choice.year} (Ember, CC BY 4.0)"
    yield _line(f'kind = "{STATIC}"', f"{mean}: an estimate,")
    if behind:
        yield _line("", f"used while {behind} does not answer; it settles nothing")
    else:
        yield _line("", "the same at every hour, so no hour is cleaner than another; it settles nothing")


def _block(name: str, kind: str, choice: SourceChoice) -> Iterator[str]:
    yield f"[provider.{name}]"
    needs = "needs no key" if kind == choice.open else "its key is beside this file"
    yield _line(f'kind = "{kind}"', f"{needs}; `greenrun providers check` says what it counts")
    if kind in (ENTSOE, MAPS):
        yield _line(f'key_file = "{KEY_FILES[kind]}"', "alone in a file that not everybody may read")


def _keyed(choice: SourceChoice, kind: str, *, is_first: bool) -> Iterator[str]:
    instead = "" if is_first else ", instead of the same value at every hour,"
    yield f"# Forecasts of {choice.zone}{instead} need {KEYS[kind]}."
    if choice.country_open:
        country = choice.zone[:2]
        yield f"# The country as a whole needs none: `greenrun init --zone {country} --force` ({choice.country_open})."
    secret = "the password" if kind == WATTTIME else "it"
    then = "uncomment" if kind == WATTTIME else f"`greenrun init --zone {choice.zone} --force`, or uncomment"
    yield f"# Put {secret} into {KEY_FILES[kind]} beside this file, for you alone (chmod 600); then"
    yield f"# {then}:"
    if not is_first:
        yield f'#   provider = ["{kind}", "{MEAN}"] and history_provider = "{kind}" in [grid]'
    yield f"#[provider.{kind}]"
    yield f'#kind = "{kind}"'
    if kind == WATTTIME:
        yield '#username = "ada"'
        yield f'#password_file = "{KEY_FILES[kind]}"'
    else:
        yield f'#key_file = "{KEY_FILES[kind]}"'


def _devices(meter: str | None, gpus: Sequence[Device], *, reads_cpu: bool) -> Iterator[str]:
    yield "[devices]"
    if meter is None:
        yield "# No GPU was found; `greenrun doctor` says why. Each start of the daemon tries the drivers again."
        yield '#meter = ["nvml", "amd", "none"]'
    elif meter == "emulated":
        yield _line('meter = "emulated"', "imaginary GPUs, for a trial: no hardware is used")
    else:
        yield _line(f'meter = "{meter}"', "greenrun does not start without it, so that no job waits for a GPU in vain")
        yield from (f"#   {device.name}  {device.model}  {device.id}" for device in gpus)
    if reads_cpu:
        yield _line('cpu_meter = "rapl"', "the energy of CPUs and their memory, too")
    if meter == "emulated":
        yield from ("", "[devices.emulated]", f"gpus = {len(gpus)}")


def _line(setting: str, comment: str) -> str:
    return f"{setting:<{_COLUMN - 2}} # {comment}" if comment else setting
