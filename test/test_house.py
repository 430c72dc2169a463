# SPDX-License-Identifier: Apache-2.0
"""Who may import what: the house's rules, read from the code without running it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = (
    'labels',
    'frame',
    'image',
    'bundle',
    'files',
    'documents',
    'share',
    'overlay',
    'models',
    'runtime',
    'tracking',
    'metrics',
    'pipeline',
    'interface',
    'recordings',
    'benchmark',
    'demo',
    'replay',
    'ros',
    'cli',
    'onnx_graph',
    'text',
)
LOWER = ('labels', 'frame', 'image', 'bundle', 'files', 'documents', 'text')
ALLOWED = {
    'labels': (),
    'image': (),
    'share': (),
    'files': (),
    'documents': ('text',),
    'text': (),
    'onnx_graph': (),
    'frame': ('labels',),
    'bundle': ('labels', 'files', 'documents', 'onnx_graph'),
    'overlay': LOWER,
    'models': ('labels', 'bundle', 'documents'),
    'runtime': (*LOWER, 'onnx_graph', 'models'),
    'tracking': LOWER,
    'metrics': ('labels', 'files', 'documents'),
    'pipeline': (*LOWER, 'runtime', 'tracking'),
    'benchmark': (*LOWER, 'runtime', 'tracking', 'pipeline'),
    'interface': (*LOWER, 'share', 'overlay', 'runtime', 'tracking', 'pipeline'),
    'recordings': (*LOWER, 'interface'),
    'ros': tuple(set(PARTS) - {'cli', 'metrics', 'models'}),
    'demo': tuple(set(PARTS) - {'cli', 'ros', 'models', 'runtime', 'metrics', 'replay'}),
    'replay': tuple(set(PARTS) - {'cli', 'ros', 'models', 'benchmark'}),
    'cli': PARTS,
}
"""Parts of panoptic_ros that each part may import beside itself."""

ROS_MODULES = {
    'rclpy',
    'sensor_msgs',
    'std_msgs',
    'diagnostic_msgs',
    'visualization_msgs',
    'vision_msgs',
    'lifecycle_msgs',
    'std_srvs',
    'rcl_interfaces',
    'cv_bridge',
    'builtin_interfaces',
    'geometry_msgs',
    'rosgraph_msgs',
}
TORCH_MODULES = {'torch', 'torchvision', 'timm', 'lightning'}


def imports(path):
    """(full module name, inside a function?) of each import of a file."""
    tree = ast.parse(path.read_text())
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    inside |= {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and 'TYPE_CHECKING' in ast.unparse(branch.test)
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).with_suffix('').parts[: -node.level or None]
            base = '.'.join(package) + '.' if node.level else ''
            for alias in node.names:
                yield f'{base}{node.module or ""}.{alias.name}'.strip('.'), id(node) in inside


FILES = sorted([*ROOT.glob('panoptic_ros/**/*.py'), *ROOT.glob('training/**/*.py')])


def test_the_walk_sees_the_code():
    found = {module.split('.')[0] for path in FILES for module, _ in imports(path)}
    assert {'numpy', 'torch', 'rclpy', 'panoptic_ros', 'onnxruntime'} <= found


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports(path):
    parts = path.relative_to(ROOT).with_suffix('').parts
    part = parts[1] if parts[0] == 'panoptic_ros' else 'training'
    for module, lazy in imports(path):
        names = module.split('.')
        top = names[0]
        if top == 'panoptic_ros' and len(names) > 1 and part in ALLOWED and names[1] in PARTS:
            assert names[1] == part or names[1] in ALLOWED[part], module
        if top == 'panoptic_ros' and part == 'training':
            assert len(names) < 2 or names[1] not in ('ros', 'cli', 'demo'), module
        if top == 'panoptic_training':
            assert part == 'cli', module
            assert lazy, f'{module}: a robot has no panoptic_training'
        if top in ROS_MODULES:
            # cv_bridge reads what we cannot, where it is installed.
            assert (
                part == 'ros'
                or (part == 'cli' and lazy)
                or (part == 'interface' and lazy and top == 'cv_bridge')
            ), module
        if top in TORCH_MODULES:
            assert (
                part in ('models', 'training')
                or path.stem == 'torch_backend'
                or (part == 'runtime' and lazy)
                or (part == 'cli' and lazy)
            ), module
        if top in ('onnxruntime', 'tensorrt'):
            assert lazy or part in ('training',), f'{module}: engines are imported when opened'
        if part in ('cli', 'ros') and names[:2] == ['panoptic_ros', 'models']:
            assert lazy, f'{module}: a robot has no torch'
