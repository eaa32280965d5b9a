"""A recipe is data: what it does not understand it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from qianru.errors import SpecMismatch
from qianru.models.json_file import JsonFile
from qianru.models.recipe import DenseSpec, Recipe

RECIPE = Recipe(("mean", "max"), dense=(DenseSpec("2_Dense", 8, 4),), normalize=True)


def test_a_recipe_is_the_same_after_being_written_and_read() -> None:
    assert Recipe.read(JsonFile("card", RECIPE.settings())) == RECIPE


@pytest.mark.parametrize("wrong", [
    {"dense": ["2_Dense"]}, {"dense": None}, {"pooling": "mean"}, {"pooling": []}, {"pooling": ["average"]},
    {"normalize": 1}, {"dense": [{"name": "2_Dense", "n_in": 8, "n_out": 0, "bias": True, "activation": "tanh"}]},
])
def test_what_is_no_recipe_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecMismatch):
        Recipe.read(JsonFile("card", RECIPE.settings() | wrong))
