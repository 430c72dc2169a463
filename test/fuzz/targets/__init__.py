# SPDX-License-Identifier: Apache-2.0
"""Registry of the targets."""

from importlib import import_module
from typing import NamedTuple

from fuzz.case import Target


class Row(NamedTuple):
    """Place of a target."""

    module: str
    """Module in this folder, whose `TARGETS` has the target by this name."""

    slow: bool = False
    """Whether a try takes over 0.1 s; such a target gets a tenth of the tries."""


ROWS = {
    'image': Row('images'),
    'compressed_image': Row('images'),
    'point_table': Row('tables'),
    'depth': Row('metres'),
    'compressed_depth': Row('metres'),
    'camera_info': Row('metres'),
    'lidar': Row('metres'),
    'parameters': Row('yaml_files'),
    'classes': Row('yaml_files'),
    'recipe': Row('recipes', slow=True),
    'model_bytes': Row('models'),
    'model_metadata': Row('models'),
    'model_reference': Row('models'),
    'model_graph': Row('models'),
    'plain_onnx': Row('plain_onnx'),
    'bag_sqlite3': Row('bags'),
    'bag_mcap': Row('bags'),
    'bag_ros1': Row('bags'),
    'coco': Row('label_files'),
    'folder': Row('label_files'),
    'id_png': Row('label_files'),
    'checkpoint': Row('weights'),
    'checkpoint_model': Row('weights', slow=True),
    'safetensors': Row('weights'),
}
"""Targets by name. To add one, write `make` and `check` in a module and add a row."""


def load(name: str) -> Target:
    """Return a target; the libraries that it needs are imported here."""
    module, _, short = name.rpartition('.')  # `faulty.crash` of a test has no row
    targets = import_module(f'fuzz.targets.{module or ROWS[name].module}').TARGETS
    return next(target for target in targets if target.name == short)
