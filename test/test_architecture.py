# SPDX-License-Identifier: Apache-2.0
"""Holds the imports to the table in docs/architecture.md, without running the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob('panoptic_ros/**/*.py'), *ROOT.glob('training/**/*.py')])
ROS_MODULES = {
    'ament_index_python',
    'builtin_interfaces',
    'cv_bridge',
    'diagnostic_msgs',
    'geometry_msgs',
    'lifecycle_msgs',
    'rcl_interfaces',
    'rclpy',
    'rosgraph_msgs',
    'sensor_msgs',
    'std_msgs',
    'std_srvs',
    'tf2_ros',
    'vision_msgs',
    'visualization_msgs',
}
TORCH_MODULES = {'torch', 'torchvision', 'timm', 'lightning'}


class Import(NamedTuple):
    name: str  # full, of a module or of a name in it
    in_function: bool
    for_types: bool


def table() -> dict[str, tuple[str, ...]]:
    """What each package may import, in the order of docs/architecture.md."""
    rows = re.findall(
        r'^\| `(\w+)` \|[^|]*\|([^|]*)\|$', (ROOT / 'docs/architecture.md').read_text(), re.M
    )
    return {package: tuple(re.findall(r'`(\w+)`', allowed)) for package, allowed in rows}


ALLOWED = table()


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix('').parts
    top = 'panoptic_training' if parts[0] == 'training' else parts[0]
    return '.'.join((top, *parts[1:])).removesuffix('.__init__')


MODULES = {module_of(path): path for path in FILES}


def package_of(module: str) -> str | None:
    """The row of the table that a module belongs to; None for libraries."""
    top, _, rest = module.partition('.')
    if top == 'panoptic_training':
        return 'training'
    if top != 'panoptic_ros':
        return None
    return next((name for name in [rest.partition('.')[0]] if name in ALLOWED), 'root')


def imports(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text())

    def inside(kinds: tuple[type, ...], condition: str = '') -> set[int]:
        return {
            id(node)
            for scope in ast.walk(tree)
            if isinstance(scope, kinds) and condition in ast.unparse(scope)
            for node in ast.walk(scope)
        }

    in_function = inside((ast.FunctionDef, ast.AsyncFunctionDef))
    for_types = inside((ast.If,), 'if TYPE_CHECKING')
    package = module_of(path).split('.')
    if path.stem != '__init__':
        package = package[:-1]
    for node in ast.walk(tree):
        where = (id(node) in in_function, id(node) in for_types)
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, *where)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                yield Import('.'.join([*base, *filter(None, [node.module]), alias.name]), *where)


def imported_module(name: str) -> str | None:
    """The module of this project that an import loads."""
    return (
        name
        if name in MODULES
        else next((m for m in [name.rpartition('.')[0]] if m in MODULES), None)
    )


def test_the_walk_sees_the_code() -> None:
    found = {imported.name.split('.')[0] for path in FILES for imported in imports(path)}
    assert {'numpy', 'torch', 'rclpy', 'panoptic_ros', 'panoptic_training'} <= found
    assert {package_of(module) for module in MODULES} == set(ALLOWED)


def test_packages_import_only_packages_above_them() -> None:
    order = list(ALLOWED)
    for package, allowed in ALLOWED.items():
        assert set(allowed) <= set(order[: order.index(package)]), package


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_in_the_table(path: Path) -> None:
    package = package_of(module_of(path))
    for imported in imports(path):
        name, top = imported.name, imported.name.split('.')[0]
        lazy = imported.in_function or imported.for_types
        other = package_of(name)
        assert other in (None, package) or other in ALLOWED[package], name
        if other == 'training' and package != 'training':
            assert lazy, f'{name}: a robot has no panoptic_training'
        if other == 'models' and package in ('cli', 'ros'):
            assert lazy, f'{name}: a robot has no torch'
        if top in ROS_MODULES:
            assert package == 'ros' or (
                lazy and (package == 'cli' or (package == 'images' and top == 'cv_bridge'))
            ), name
        if top in TORCH_MODULES:
            assert (
                package in ('models', 'training')
                or path.stem == 'torch_backend'
                or (lazy and package in ('runtime', 'benchmark', 'cli'))
            ), name
        if top in ('onnxruntime', 'tensorrt', 'tensorrt_rtx'):
            assert lazy or package == 'training', f'{name}: engines are imported when opened'
        if top == 'rerun':
            assert lazy and package in ('demo', 'cli'), f'{name}: the log imports it when opened'


@pytest.mark.parametrize('package', ALLOWED)
def test_each_permission_is_used(package: str) -> None:
    used = {
        package_of(imported.name)
        for module, path in MODULES.items()
        if package_of(module) == package
        for imported in imports(path)
    }
    assert not set(ALLOWED[package]) - used


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {
        module: {imported_module(imported.name) for imported in imports(path)} - {None, module}
        for module, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, ' -> '.join((*trail[trail.index(module) :], module))
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*trail, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())
