"""docs/recipes.md: its recipe is valid, and it names every key that a recipe may have and every default it states."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from cutaway.training import recipe
from cutaway.training.by_name import ADVERSARIES, REGULARISERS

TEXT = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")


def test_the_recipe_of_the_guide_is_valid():
    (found,) = re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL)
    made = recipe.checked_recipe(tomllib.loads(found))
    assert made.training.steps == 400
    assert made.regularisers[0].options == {}
    assert made.tracker.instruments[0].options == {"radius": 0.1, "steps": 3}


@pytest.mark.parametrize("part", sorted(recipe._PARTS))
def test_every_key_is_named(part):
    for key in recipe._PARTS[part].model_fields:
        assert f"`{key}`" in TEXT, f"docs/recipes.md does not name {part}.{key}"


def test_every_name_that_may_be_chosen_is_named():
    for name in (*ADVERSARIES, *REGULARISERS):
        assert f"`{name}`" in TEXT


@pytest.mark.parametrize(("key", "value"), [("batch", "128"), ("weight_decay", "0.01"), ("optimiser", "`adamw`")])
def test_defaults_are_those_of_the_code(key, value):
    assert f"`{key}` | {value} |" in TEXT
    assert str(recipe.TrainingPart(steps=1).model_dump()[key]) == value.strip("`")


@pytest.mark.parametrize("name", REGULARISERS)
def test_every_setting_of_a_regulariser_stands_in_its_row(name):
    from cutaway.training.adversarial import Ascent
    from cutaway.training.group_prior import GroupPrior
    from cutaway.training.regularisers import BoundaryDensity, InputGradient, JacobianNorm, LinearMargin, MaximumMargin

    kinds = {
        "mmr": MaximumMargin, "linear-margin": LinearMargin, "gradient-norm": InputGradient, "jacobian": JacobianNorm,
        "local-complexity-density": BoundaryDensity, "trades": Ascent, "group-prior": GroupPrior,
    }  # fmt: skip
    (row,) = re.findall(rf"^\| `{name}` \|([^|]*)\|([^|]*)\|$", TEXT, flags=re.MULTILINE)
    for field in (f for f in dataclasses.fields(kinds[name]) if f.init and f.name != "data"):
        needed = field.default is dataclasses.MISSING
        assert f"`{field.name}`" in row[0 if needed else 1], f"docs/recipes.md does not give {field.name} of {name}"
