# SPDX-License-Identifier: Apache-2.0
"""Optional packages, and skipping of the tests that need a missing one."""

import pytest

OPTIONAL = {
    **dict.fromkeys(
        (
            'torch',
            'torchvision',
            'timm',
            'lightning',
            'jsonargparse',
            'tensorboard',
            'onnxscript',
            'safetensors',
            'pycocotools',
            'optuna',
            'sklearn',
            'PIL',
        ),
        'train',
    ),
    'transformers': 'hf',
    'rosbags': 'bag',
    'matplotlib': 'report',
    'jinja2': 'report',
    'hypothesis': 'test',
    'tensorrt_rtx': 'test',
    'nav_msgs': 'test',
    'rerun': 'rerun',
    **dict.fromkeys(('ray', 'pyarrow', 'fsspec'), 'fleet'),
    **dict.fromkeys(
        (
            'rclpy',
            'rcl_interfaces',
            'sensor_msgs',
            'std_msgs',
            'diagnostic_msgs',
            'visualization_msgs',
            'lifecycle_msgs',
            'std_srvs',
            'rosgraph_msgs',
        ),
        'ros',
    ),
}
"""Extra of setup.py that installs each package."""


def skip_without_package(error: BaseException | None) -> None:
    """Raise pytest's Skipped if the error comes from a missing optional package."""
    while error:
        name = ((error.name or '') if isinstance(error, ModuleNotFoundError) else '').split('.')[0]
        if name in OPTIONAL:
            pytest.skip(
                f'needs {name}: pip install "panoptic_ros[{OPTIONAL[name]}]"',
                allow_module_level=True,
            )
        error = error.__cause__ or error.__context__
