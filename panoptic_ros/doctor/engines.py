# SPDX-License-Identifier: Apache-2.0
"""Backends and GPUs of this machine, as JSON: `python -m panoptic_ros.doctor.engines`."""

import json

from panoptic_ros.runtime import available_backends
from panoptic_ros.runtime.gpu import gpu_names


def main() -> None:
    """Print why each backend cannot be used, empty if it can, and the GPUs' names."""
    print(json.dumps({'reasons': available_backends(), 'gpus': gpu_names()}))


if __name__ == '__main__':
    main()
