# SPDX-License-Identifier: Apache-2.0
"""What the figures of a suite were computed with."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from panoptic_ros.core.version import __version__

PACKAGES = ('numpy', 'opencv-python-headless', 'onnxruntime', 'rosbags')


def describe_software() -> dict[str, Any]:
    """Return versions, and the commit of the package's source tree if it is run from one."""
    return {
        'panoptic_ros': __version__,
        'commit': _commit(),
        'python': platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit, with `-dirty` if files have changed since; None outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / '.git').exists():
        return None
    try:
        described = subprocess.run(
            ['git', '-C', str(root), 'describe', '--always', '--abbrev=40', '--dirty'],
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
