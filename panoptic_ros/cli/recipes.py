# SPDX-License-Identifier: Apache-2.0
"""Search for the recipes, studies and class mappings that `panoptic_training` contains."""

from importlib.util import find_spec
from pathlib import Path


def recipe_files() -> dict[str, Path]:
    """Return the shipped recipes by name; empty if `panoptic_training` is not installed."""
    return _shipped('recipes')


def study_files() -> dict[str, Path]:
    """Return the shipped ablation studies by name."""
    return _shipped('studies')


def find_recipe(name: str) -> Path:
    """Return the path of a recipe, given a path or a shipped name.

    Raises:
        FileNotFoundError: listing the shipped names.
    """
    return _find('recipe', name, recipe_files())


def find_study(name: str) -> Path:
    """Return the path of an ablation study, given a path or a shipped name.

    Raises:
        FileNotFoundError: listing the shipped names.
    """
    return _find('study', name, study_files())


def find_class_mapping(name: str) -> Path:
    """Return the path of a class mapping, given a path or a shipped name.

    Raises:
        FileNotFoundError: listing the shipped names.
    """
    return _find('class mapping', name, _shipped('mappings'))


def _shipped(folder: str) -> dict[str, Path]:
    spec = find_spec('panoptic_training')
    places = spec.submodule_search_locations if spec else None
    files = (file for place in places or () for file in Path(place).glob(f'{folder}/*.yaml'))
    return {file.stem: file for file in sorted(files)}


def _find(kind: str, name: str, files: dict[str, Path]) -> Path:
    if Path(name).is_file():
        return Path(name)
    if name not in files:
        raise FileNotFoundError(
            f'no {kind} {name!r}; give a YAML file or one of: '
            f'{", ".join(files) or "none is installed"}'
        )
    return files[name]
