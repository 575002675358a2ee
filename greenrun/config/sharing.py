"""[sharing]: what people who share a machine see of each other's jobs; [project.NAME]: who may submit to a project."""

from typing import Annotated

from pydantic import AfterValidator, Field

from greenrun.config.values import Names
from greenrun.core.jobs.access import GROUP_MARK, Sharing
from greenrun.providers.settings import Section

LONGEST_NAME = 64  # of a project


def _accounts(names: tuple[str, ...]) -> tuple[str, ...]:
    wrong = next((name for name in names if not name.removeprefix(GROUP_MARK) or any(map(str.isspace, name))), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} names nobody: write users by their login names, and groups like @lab")
    return names


def _groups(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.removeprefix(GROUP_MARK) for name in _accounts(names))


Accounts = Annotated[Names, AfterValidator(_accounts)]
Groups = Annotated[Names, AfterValidator(_groups)]
ProjectName = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]


class SharingSettings(Section):
    """[sharing]; members of `admin_groups` may see and touch everything."""

    others: Sharing = Sharing.LISTED
    admin_groups: Groups = ()


class ProjectSettings(Section):
    """[project.NAME]; without `members` everybody may submit to it."""

    members: Accounts | None = None
