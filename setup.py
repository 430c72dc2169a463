# SPDX-License-Identifier: Apache-2.0
"""Setup of `panoptic_ros`, which runs on a robot, and `panoptic_training`, which trains models."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'panoptic_ros'
ROS_JAZZY = [
    f'ros-jazzy-{name}'
    for name in (
        'rclpy',
        'rmw-fastrtps-cpp',
        'sensor-msgs',
        'std-msgs',
        'diagnostic-msgs',
        'visualization-msgs',
        'lifecycle-msgs',
        'std-srvs',
    )
]

setup(
    name=PACKAGE,
    version='0.1.0',
    description='Panoptic segmentation for ROS 2: train, export, run and evaluate',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=[
        *find_packages(include=[f'{PACKAGE}*']),
        'panoptic_training',
        *(f'panoptic_training.{name}' for name in find_packages('training')),
    ],
    package_dir={'panoptic_training': 'training'},
    package_data={
        PACKAGE: [
            'py.typed',
            'data/*',
            'mining/templates/*',
            'pages/templates/*',
            'replay/templates/*',
            'suite/templates/*',
        ],
        'panoptic_training': [
            'py.typed',
            'cards/*',
            'evaluation/templates/*',
            'mappings/*',
            'recipes/*',
            'studies/*',
        ],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/launch', [str(path) for path in Path('launch').glob('*.py')]),
        (f'share/{PACKAGE}/config', [str(path) for path in Path('config').iterdir()]),
    ],
    # Minimum versions, as test/test_install.py installs them.
    install_requires=[
        'numpy>=1.26',
        'opencv-python-headless>=4.6',
        'scipy>=1.11',
        'onnx>=1.23',
        'onnxruntime>=1.23',
        'pyyaml>=6',
        'rich>=13.7',
    ],
    extras_require={
        'ros': ROS_JAZZY,
        'bag': ['rosbags>=0.11'],
        'report': ['matplotlib>=3.6', 'jinja2>=3.0'],
        'fleet': ['ray>=2.60', 'pyarrow>=22', 'fsspec>=2025.3'],
        'rerun': ['rerun-sdk>=0.41'],
        'train': [
            'torch>=2.6',
            'torchvision>=0.21',
            'timm>=1.0',
            'lightning>=2.5',
            'jsonargparse[signatures]>=4.35',
            'tensorboard>=2.15',
            'onnxscript>=0.5',
            'safetensors>=0.4',
            'pycocotools>=2.0.7',
            'optuna>=4',
            'scikit-learn>=1.3',
        ],
        'hf': ['transformers>=5'],
        'tensorrt_rtx': ['tensorrt-rtx>=1.7', 'cuda-bindings>=13'],
        'docs': ['sphinx>=8', 'myst-parser>=4', 'pydata-sphinx-theme>=0.16', 'sphinx-copybutton'],
        'test': [
            'pytest',
            'pytest-xdist',
            'pytest-timeout',
            'hypothesis',
            'ruff',
            'mypy',
            'tensorrt-rtx>=1.7; sys_platform == "win32" or '
            '(sys_platform == "linux" and platform_machine == "x86_64")',
            'onnxruntime-ep-openvino; sys_platform == "linux" and platform_machine == "x86_64"',
            'ros-jazzy-nav-msgs',
        ],
    },
    entry_points={
        'console_scripts': [
            'panoptic = panoptic_ros.cli.main:main',
            'panoptic_node = panoptic_ros.ros.main:main',
        ]
    },
)
