"""Finds the training recipes that ship with `panoptic_training`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def recipe_files() -> dict[str, Path]:
    """Shipped recipes by name; empty where `panoptic_training` is not installed."""
    spec = find_spec('panoptic_training')
    folders = spec.submodule_search_locations if spec else None
    files = (file for folder in folders or () for file in Path(folder).glob('recipes/*.yaml'))
    return {file.stem: file for file in sorted(files)}


def find_recipe(name: str) -> Path:
    """A recipe by file path or shipped name.

    Raises:
        FileNotFoundError: listing the shipped names.
    """
    if Path(name).is_file():
        return Path(name)
    files = recipe_files()
    if name not in files:
        raise FileNotFoundError(f'no recipe {name!r}; give a YAML file or one of: '
                                f'{", ".join(files) or "none is installed"}')
    return files[name]
