# SPDX-License-Identifier: Apache-2.0
"""Model files, opened for prediction."""

from pathlib import Path
from typing import Any

from panoptic_ros.core.model_file import file_hash, read_info
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
        >>> import cv2
        >>> import panoptic_ros
        >>> model = panoptic_ros.load(device='cpu')  # the model in the package
        >>> image = cv2.cvtColor(cv2.imread('street.jpg'), cv2.COLOR_BGR2RGB)  # (H, W, 3) uint8
        >>> frame = model.predict(image)
        >>> things = frame.segments[frame.segments['is_thing'] == 1]
        >>> best = things[things['score'].argmax()]
        >>> print(model.info.labels.names[best['class_id']], f'at u = {best["u"]:.0f} px')
        car at u = 222 px

    Raises:
        FileNotFoundError: if the package has no model file and none is given.
        ModelFileError: if the model file is missing, damaged or not supported by the backend.
        BackendError: if the backend or the device is not available.
    """
    path = default_model() if path is None else Path(path)
    return Predictor(open_backend(path, backend, device, **options), read_info(path))


def fingerprint(path: Path, predictor: Predictor) -> dict[str, Any]:
    """Return everything that a model's predictions depend on, except the image."""
    backend = predictor.backend
    return {'model': file_hash(path), 'backend': backend.name, 'precision': backend.precision}
