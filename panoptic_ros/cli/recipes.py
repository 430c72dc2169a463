# SPDX-License-Identifier: Apache-2.0
"""Search for the recipes, studies, class mappings and model cards in `panoptic_training`."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import DocumentError, read_yaml
from panoptic_ros.core.text import did_you_mean, one_line, short

FOLDERS = {
    'recipe': 'recipes',
    'study': 'studies',
    'class mapping': 'mappings',
    'model card': 'cards',
}
"""Folder of the shipped files by their kind."""

RECIPE_KEYS = {'trainer', 'model', 'data', 'seed_everything', 'ema', 'pictures', 'best', 'last'}

MAX_LISTED = 8
"""Most names that an error message lists."""


def recipe_files() -> dict[str, Path]:
    """Return the shipped recipes by name; empty if `panoptic_training` is not installed."""
    return _shipped('recipes')


def study_files() -> dict[str, Path]:
    """Return the shipped ablation studies by name."""
    return _shipped('studies')


def find_recipe(name: str) -> Path:
    """Return the path of a recipe, given a path or a shipped name.

    Raises:
        FileNotFoundError: naming the most similar shipped name.
        IsADirectoryError: for a folder.
    """
    return _find('recipe', name)


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe, or a part of one.

    Raises:
        OSError: if the file cannot be read.
        ValueError: for a file that is not YAML, has no key of a recipe or no settings under one.
    """
    try:
        content = read_yaml(path)
    except DocumentError as error:
        raise DocumentError(f'{error}; a recipe has the keys trainer, model and data') from None
    if not isinstance(content, dict) or not RECIPE_KEYS & content.keys():
        raise ValueError(
            f'{path} is not a recipe: expected the keys trainer, model and data, got '
            f'{one_line(list(content) if isinstance(content, dict) else content)}'
        )
    for group in ('trainer', 'model', 'data'):
        settings = content.get(group)
        if settings is not None and not isinstance(settings, dict):
            raise ValueError(f'{path}: {group} must hold settings, got {short(settings)}')
    return content


def find_study(name: str) -> Path:
    """Return the path of an ablation study, given a path or a shipped name.

    Raises:
        FileNotFoundError: naming the most similar shipped name.
        IsADirectoryError: for a folder.
    """
    return _find('study', name)


def find_class_mapping(name: str) -> Path:
    """Return the path of a class mapping, given a path or a shipped name.

    Raises:
        FileNotFoundError: naming the most similar shipped name.
        IsADirectoryError: for a folder.
    """
    return _find('class mapping', name)


def find_model_card(name: str) -> Path:
    """Return the path of a model card, given a path or a shipped name.

    Raises:
        FileNotFoundError: naming the most similar shipped name.
        IsADirectoryError: for a folder.
    """
    return _find('model card', name)


def _shipped(folder: str) -> dict[str, Path]:
    spec = find_spec('panoptic_training')
    places = spec.submodule_search_locations if spec else None
    files = (file for place in places or () for file in Path(place).glob(f'{folder}/*.yaml'))
    return {file.stem: file for file in sorted(files)}


def _find(kind: str, name: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        raise IsADirectoryError(f'{name} is a folder, expected a YAML file of a {kind}')
    files = _shipped(FOLDERS[kind])
    if name in files:
        return files[name]
    others = [other for other, folder in FOLDERS.items() if name in _shipped(folder)]
    if others:
        raise FileNotFoundError(f'{name} is a {others[0]}, expected a {kind}')
    raise FileNotFoundError(
        f'no {kind} {name!r}{did_you_mean(name, files)}; expected a YAML file or one of: '
        + (', '.join(files) or 'none is installed')
        if len(files) <= MAX_LISTED
        else f'no {kind} {name!r}{did_you_mean(name, files)}; expected a YAML file or a name that '
        f'`panoptic list {FOLDERS[kind]}` shows'
    )
