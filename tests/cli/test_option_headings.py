"""The help of commands with many options lists each of them once, under a heading that says what it is about."""

import re

import click
import pytest
from click.testing import CliRunner

from greenrun.cli.estimate import estimate
from greenrun.cli.jobs.edit import edit, requeue
from greenrun.cli.jobs.submit import submit
from greenrun.cli.option_headings import OF_ESTIMATES, OF_JOBS, OF_SIMULATIONS, REST, Headings
from greenrun.cli.simulate import simulate
from greenrun.submission.job_options import OPTIONS

COMMANDS = {submit: OF_JOBS, edit: OF_JOBS, requeue: OF_JOBS, simulate: OF_SIMULATIONS, estimate: OF_ESTIMATES}


def listed(command: click.Command) -> dict[str, list[str]]:
    """Return the options that the help lists, by heading."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in CliRunner().invoke(command, ["--help"]).output.splitlines():
        if begins := re.match(r"(\w.*):$", line):
            heading = begins[1]
        elif option := re.match(r"  (?:-\w, )?--([a-z-]+)", line):
            found.setdefault(heading, []).append(option[1])
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_option_is_listed_once_and_few_under_no_heading(command: click.Command) -> None:
    found = listed(command)
    names = [name for own in found.values() for name in own]
    assert sorted(names) == sorted(
        {max(param.opts, key=len).lstrip("-") for param in command.params if isinstance(param, click.Option)} | {"help"}
    )
    assert len(names) > len(found[REST]) * 3
    assert list(found)[-1] == REST
    assert max(map(len, found.values())) <= 12


def test_every_option_of_a_job_has_a_heading() -> None:
    assert OPTIONS.keys() <= {name for own in OF_JOBS.values() for name in own}


@pytest.mark.parametrize("headings", [OF_JOBS, OF_SIMULATIONS, OF_ESTIMATES])
def test_no_option_has_two_headings(headings: Headings) -> None:
    every = [name for own in headings.values() for name in own]
    assert len(every) == len(set(every))
