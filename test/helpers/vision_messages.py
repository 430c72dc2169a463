# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for vision_msgs, which no package index has: its definitions, and strict classes."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

DEFINITIONS = {
    'BoundingBox2D': 'vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y',
    'BoundingBox3D': 'geometry_msgs/Pose center\ngeometry_msgs/Vector3 size',
    'Detection3D': 'std_msgs/Header header\nObjectHypothesisWithPose[] results\n'
    'BoundingBox3D bbox\nstring id',
    'Detection3DArray': 'std_msgs/Header header\nDetection3D[] detections',
    'Detection2D': 'std_msgs/Header header\nObjectHypothesisWithPose[] results\n'
    'BoundingBox2D bbox\nstring id',
    'Detection2DArray': 'std_msgs/Header header\nDetection2D[] detections',
    'LabelInfo': 'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold',
    'ObjectHypothesis': 'string class_id\nfloat64 score',
    'ObjectHypothesisWithPose': 'ObjectHypothesis hypothesis\n'
    'geometry_msgs/PoseWithCovariance pose',
    'Point2D': 'float64 x\nfloat64 y',
    'Pose2D': 'vision_msgs/Point2D position\nfloat64 theta',
    'VisionClass': 'uint16 class_id\nstring class_name',
}
"""Fields of vision_msgs 4.1.1, as far as the node uses them."""


def install_definitions(prefix: Path, monkeypatch) -> None:
    """Install the definitions, for readers such as rosbags."""
    folder = prefix / 'share' / 'vision_msgs' / 'msg'
    folder.mkdir(parents=True)
    for name, text in DEFINITIONS.items():
        (folder / f'{name}.msg').write_text(f'{text}\n')
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(prefix))


def install_classes(monkeypatch) -> None:
    """Install the classes, for importers such as the node."""
    package, module = ModuleType('vision_msgs'), ModuleType('vision_msgs.msg')
    for name in DEFINITIONS:
        setattr(module, name, type(name, (Message,), {'KIND': name}))
    monkeypatch.setitem(sys.modules, 'vision_msgs', package)
    monkeypatch.setitem(sys.modules, 'vision_msgs.msg', module)


class Message:
    """A message that accepts its own fields only, like rclpy's."""

    KIND = ''

    def __init__(self, **fields: Any) -> None:
        kinds = dict(reversed(line.split()) for line in DEFINITIONS[self.KIND].splitlines())
        self.__dict__['kinds'] = kinds
        for name, kind in kinds.items():
            self.__dict__[name] = [] if kind.endswith('[]') else _default(kind)
        for name, value in fields.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in self.kinds, f'{self.KIND} has no field {name}'
        kind = self.kinds[name]
        if kind.startswith(('float', 'uint', 'string')):
            assert type(value) is type(_default(kind)), f'{self.KIND}.{name} got {value!r}'
        self.__dict__[name] = value


def _default(kind: str) -> Any:
    if kind.startswith(('float', 'uint', 'string')):
        return {'f': 0.0, 'u': 0, 's': ''}[kind[0]]
    package, _, name = kind.rpartition('/')
    if package in ('', 'vision_msgs'):
        return getattr(sys.modules['vision_msgs.msg'], name)()
    if package == 'geometry_msgs':
        return getattr(import_module('geometry_msgs.msg'), name)()
    return None  # a field of another package, which the tests do not read
