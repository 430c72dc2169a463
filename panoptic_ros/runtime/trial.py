# SPDX-License-Identifier: Apache-2.0
"""Check of a loaded model on test images: its outputs must agree with its description."""

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.core.model_file import ModelFileError
from panoptic_ros.core.model_info import MAX_NUMBER, ModelInfo, Outputs
from panoptic_ros.core.reference import MAX_ROWS
from panoptic_ros.runtime.backend import Backend
from panoptic_ros.runtime.predictor import Predictor, to_frame

SCORE_TOLERANCE, POSITION_TOLERANCE = 0.01, 1
"""Tolerance of engines' rounding: scores outside 0 to 1, and positions outside the map, cells."""

_COLORS = np.array(
    [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (210, 210, 210),
        (90, 90, 100),
        (240, 200, 40),
        (20, 20, 20),
    ],
    np.uint8,
)


def check_predictions(backend: Backend, info: ModelInfo) -> None:
    """Predict two test images and check the outputs.

    The first image is black, has the size of the input and is predicted with the model's default
    thresholds; most models find few segments in it. The second is a chart of noisy colours, whose
    aspect ratio needs padding, predicted with the lowest thresholds; most models find segments of
    many classes in it.

    Args:
        backend: a loaded model file.
        info: the file's description.

    Raises:
        ModelFileError: if an output does not agree with the description; names it.
    """
    predictor = Predictor(backend, info)
    height, width = info.input_size
    lowest = {name: info.thresholds[name].minimum for name in ('score_threshold', 'min_area')}
    for image, thresholds in (
        (np.zeros((height, width, 3), np.uint8), {}),
        (color_chart(max(1, height * 3 // 4), max(1, width // 2)), lowest),
    ):
        pixels, geometry = predictor.prepare(CameraImage(image))
        outputs = predictor.run(pixels, geometry, thresholds)
        check_outputs(outputs, info)
        to_frame(outputs, info, geometry, 0.0, thresholds)


def color_chart(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return an image (H, W, 3) RGB of 6 x 9 fields, each of one colour with noise."""
    y, x = np.arange(height) * 6 // height, np.arange(width) * 9 // width
    chart = _COLORS[(y[:, None] * 3 + x) % len(_COLORS)].astype(np.int16)
    chart += np.random.default_rng(0).integers(-20, 21, chart.shape, np.int16)
    return np.clip(chart, 0, 255).astype(np.uint8)


def check_outputs(outputs: Outputs, info: ModelInfo) -> None:
    """Check shapes, types and ranges of a graph's outputs for one image.

    Rows that are not valid are not checked.

    Raises:
        ModelFileError: if an output does not agree with the description; names the first.
    """
    rows = outputs.valid.shape[0] if np.ndim(outputs.valid) == 1 else 0
    size = height, width = [n // info.stride for n in info.input_size]
    expected = {
        'segment_map': (np.int32, size),
        'semantic_map': (np.uint8, size),
        'class_id': (np.int32, [rows]),
        'score': (np.float32, [rows]),
        'box': (np.float32, [rows, 4]),
        'centroid': (np.float32, [rows, 2]),
        'area': (np.int32, [rows]),
        'embedding': (np.float32, [rows, info.embedding_dim]),
        'valid': (np.bool_, [rows]),
        'confidence': (np.uint8, size),
    }
    for name, (dtype, shape) in expected.items():
        value = getattr(outputs, name)
        if value is None:
            continue
        if value.dtype != dtype or list(value.shape) != shape:
            raise ModelFileError(
                f'output {name} must be {np.dtype(dtype)} {shape} by the metadata, '
                f'got {value.dtype} {list(value.shape)}'
            )
    if rows > MAX_ROWS:
        raise ModelFileError(f'outputs may have {MAX_ROWS} rows at most, got {rows}')

    valid, classes = outputs.valid, len(info.network_labels)
    corner = np.array([width, height]) + POSITION_TOLERANCE
    for name, least, most in (
        ('class_id', 0, classes - 1),
        ('score', -SCORE_TOLERANCE, 1 + SCORE_TOLERANCE),
        ('box', -POSITION_TOLERANCE, np.tile(corner, 2)),
        ('centroid', -POSITION_TOLERANCE, corner),
        ('area', 0, height * width),
        ('embedding', -MAX_NUMBER, MAX_NUMBER),
    ):
        value = getattr(outputs, name)[valid]
        if not np.all((value >= least) & (value <= most)):  # NaN fails both
            raise ModelFileError(
                f'output {name} has values outside {least:g} to {np.max(most):g}, or NaN'
            )
    present = valid & (outputs.area > 0)
    box = outputs.box[present]
    if not np.all(box[:, :2] < box[:, 2:]):
        raise ModelFileError('output box has boxes whose right or bottom lies before left or top')
    ids = np.concatenate([[True], present])
    if (
        outputs.segment_map.min() < 0
        or outputs.segment_map.max() > rows
        or not np.all(ids[outputs.segment_map])
    ):
        raise ModelFileError('output segment_map has ids that are not those of valid rows')
    if not np.all((outputs.semantic_map < classes) | (outputs.semantic_map == VOID_ID)):
        raise ModelFileError(
            f'output semantic_map has classes other than 0 to {classes - 1} and {VOID_ID}'
        )
