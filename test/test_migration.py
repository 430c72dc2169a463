# SPDX-License-Identifier: Apache-2.0
"""The migration table of CHANGELOG.md: every new import in it exists."""

import ast
import re
from pathlib import Path

import pytest

import panoptic_ros

ROOT = Path(__file__).parents[1]

FOLDERS = {'panoptic_ros': ROOT / 'panoptic_ros', 'panoptic_training': ROOT / 'training'}


def expand(text):
    """Return a path in all versions that its braces stand for."""
    braces = re.search(r'\{([^{}]*)\}', text)
    if not braces:
        return [text]
    return [
        path
        for choice in braces[1].split(',')
        for path in expand(text[: braces.start()] + choice + text[braces.end() :])
    ]


def imports(cell):
    """Return all import paths in a cell of the table."""
    found = re.findall(r'\bpanoptic_(?:ros|training)\.[\w.]*(?:\{[\w,]+\}[\w.]*)*', cell)
    return [path for text in found for path in expand(text)]


def names_in(file):
    """Return the names that a module defines or imports; it is not run, so needs no package."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom | ast.Import):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names = (name for name in ast.walk(node) if isinstance(name, ast.Name))
            yield from (name.id for name in names if isinstance(name.ctx, ast.Store))


def exists(path):
    """Return whether there is a module of this path, or a name in a module."""
    package, *parts = path.split('.')
    *groups, last = parts
    if not groups and last in panoptic_ros.__all__:
        return True
    folder = FOLDERS[package]
    if folder.joinpath(*parts).with_suffix('.py').is_file() or folder.joinpath(*parts).is_dir():
        return True
    module = folder.joinpath(*groups)
    file = module / '__init__.py' if module.is_dir() else module.with_suffix('.py')
    return file.is_file() and last in names_in(file)


def table():
    """Return the rows, (old, new)."""
    text = (ROOT / 'CHANGELOG.md').read_text().partition('### Migration from 0.1.0')[2]
    lines = text.partition('\n## ')[0].strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip('|').split(' | ')] for line in lines]


NEW = sorted({path for _, new in table() for path in imports(new)})


def test_braces_stand_for_each_path():
    assert imports('`panoptic_ros.{a,b}.{c,d_e}`, `panoptic_training.f.*`, g') == [
        'panoptic_ros.a.c',
        'panoptic_ros.a.d_e',
        'panoptic_ros.b.c',
        'panoptic_ros.b.d_e',
        'panoptic_training.f.',
    ]


@pytest.mark.parametrize('path', NEW)
def test_each_new_import_exists(path):
    assert exists(path)


def test_other_imports_do_not_exist():
    assert len(NEW) > 100
    for path in ('panoptic_ros.labels', 'panoptic_ros.core.labels.Missing', 'panoptic_ros.a.b.c'):
        assert not exists(path)
