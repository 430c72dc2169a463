# SPDX-License-Identifier: Apache-2.0
"""Model files, opened for prediction."""

from pathlib import Path
from typing import Any

from panoptic_ros.core.model_file import read_info
from panoptic_ros.core.resources import default_model
from panoptic_ros.runtime.predictor import Predictor
from panoptic_ros.runtime.select import open_backend


def load(
    path: str | Path | None = None, backend: str = 'auto', device: str = 'auto', **options: Any
) -> Predictor:
    """Open a model file for prediction.

    Args:
        path: the model file; None is the one in the package.
        backend: see `open_backend`, as all that follows.
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:<index>`.
        options: the other arguments of `open_backend`.

    Returns:
        The predictor. Its `info` says which classes the model knows.

    Example:
        >>> import numpy as np
        >>> import panoptic_ros
        >>> model = panoptic_ros.load(device='cpu')  # the model in the package
        >>> image = np.full((480, 640, 3), (90, 90, 95), np.uint8)  # (H, W, 3) RGB: a road,
        >>> image[:240] = 140, 180, 230  # the sky,
        >>> for x in (100, 400):  # and two red cars with dark windows
        ...     image[260:340, x : x + 160] = 200, 30, 30
        ...     image[225:260, x + 30 : x + 130] = 40, 50, 60
        >>> frame = model.predict(image, thresholds={'score_threshold': 0.9})
        >>> for row in frame.segments[frame.segments['is_thing'] == 1]:
        ...     print(model.info.labels.names[row['class_id']], f'at u = {row["u"]:.0f} px')
        car at u = 479 px
        car at u = 179 px

    Raises:
        FileNotFoundError: if the package has no model file and none is given.
        ModelFileError: if the model file is missing, damaged or not supported by the backend.
        BackendError: if the backend or the device is not available.
    """
    path = default_model() if path is None else Path(path)
    return Predictor(open_backend(path, backend, device, **options), read_info(path))
