"""Which variables jobs may be given: each list, by whole names and by patterns, stated and in a file."""

import pytest

from greenrun.core.jobs.site_variables import VariableRules

RULES = VariableRules(
    allowed=("PATH", "WANDB_*", "*_TOKEN", "MY_*", "LD_PRELOAD"), refused=("LD_*", "*_UNSAFE"), from_file=("*TOKEN*",)
)


@pytest.mark.parametrize(
    ("stated", "in_file", "rule"),
    [
        (["PATH", "WANDB_MODE"], ["HF_TOKEN"], None),
        (["LD_PRELOAD"], [], "env_refused"),  # though it is allowed as well
        ([], ["LD_PRELOAD"], "env_refused"),
        (["MY_UNSAFE"], [], "env_refused"),
        (["WANDB"], [], "env_allowed"),
        (["PATH"], ["OTHER"], "env_allowed"),
        (["HF_TOKEN"], [], "env_from_file"),
        (["MY_TOKENS"], [], "env_from_file"),
        (["GREENRUN_GRID_LR", "GREENRUN_ARRAY_INDEX"], [], None),  # greenrun's own
    ],
)
def test_each_list_holds_and_is_named(stated: list[str], in_file: list[str], rule: str | None) -> None:
    told = RULES.problem(stated, in_file)
    assert (told is None) == (rule is None)
    if told and rule:
        assert f"([jobs] {rule})" in told


def test_without_rules_all_is_passed_and_several_are_told_at_once() -> None:
    assert VariableRules().problem(["A", "LD_PRELOAD"], ["B_TOKEN"]) is None
    assert VariableRules(allowed=()).problem(["B", "A"]) == (
        "A, B are not among what jobs may be given ([jobs] env_allowed): leave them out"
    )
