# SPDX-License-Identifier: Apache-2.0
"""Images and models that are timed by default."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_file import read_info
from panoptic_ros.core.resources import default_model


def street(height: int, width: int, count: int = 16) -> list[CameraImage]:
    """Return frames of the synthetic street, or noise if `panoptic_training` is not installed."""
    try:
        from panoptic_training.data.synthetic import SyntheticClip
    except ImportError:
        noise = np.random.default_rng(0).integers(0, 256, (count, 32, 64, 3), np.uint8)
        frames = list(noise)
    else:
        clip = SyntheticClip(0)
        frames = [clip.frame(i).image for i in range(count)]
    return [CameraImage(cv2.resize(frame, (width, height))) for frame in frames]


def standard_models(folder: Path, log: Callable[[str], None]) -> Iterator[Path]:
    """Yield the package's model, then larger models, which are exported if torch is installed.

    Args:
        folder: folder for the exported files.
        log: receives a line with the reason why larger models are left out.
    """
    own = default_model()
    yield own
    try:
        from panoptic_ros.models.registry import build, build_model
        from panoptic_ros.runtime.torch_backend import load_weights
        from panoptic_training.export import export_model
    except ImportError as error:
        log(f'larger models were left out: {error}')
        return
    info = read_info(own)
    module = build_model(info)
    load_weights(module, own)
    larger = folder / f'{own.stem}_512x1024.onnx'
    export_model(module, larger, (512, 1024), name=info.name)
    yield larger
    resnet = folder / 'hle_resnet50.onnx'
    export_model(
        build('hle', info.network_labels, backbone='resnet50', stride=4),
        resnet,
        (1024, 2048),
        name='hle_resnet50 (untrained)',
    )
    yield resnet
