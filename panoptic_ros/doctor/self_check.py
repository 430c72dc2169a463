# SPDX-License-Identifier: Apache-2.0
"""Run of the packaged model on the packaged picture, in a process of its own.

`python -m panoptic_ros.doctor.self_check BACKEND` writes a line of JSON.
"""

import json
import resource
import statistics
import sys
import time
from typing import Any

import cv2
import numpy as np

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.model_file import load_onnx, reference_from_onnx
from panoptic_ros.core.reference import Reference
from panoptic_ros.core.resources import STREET_PICTURE, default_model
from panoptic_ros.core.text import reason_of
from panoptic_ros.runtime.load import load

LEAST_SHARE = 0.8
"""Smallest share of the picture's cells with the class that the reference has there.

The reference is the answer for a smaller and slightly distorted picture: the packaged model
reaches 0.91, and 0.79 if the picture is shifted by 16 px of 512.
"""

IMAGES, SECONDS = 20, 2.0
"""Number of images that are timed, and the time after which fewer are enough."""

LEAST_IMAGES = 3


def check(backend: str) -> dict[str, Any]:
    """Load the packaged model, time it, and compare its answer with the file's reference.

    Loading compares the answers for the reference's own image. The picture's way through the
    decoder of JPEG, scaling and cutting out is checked here.

    Args:
        backend: as `open_backend` takes it.

    Returns:
        Backend and device in use, the times, and `difference`: empty if the answer is as expected,
        None if the file has no reference.

    Raises:
        Exception: whatever the model file, the engine or a missing package causes.
    """
    path = default_model()
    start = time.perf_counter()
    predictor = load(path, backend)
    load_s = time.perf_counter() - start
    pixels = cv2.imread(str(STREET_PICTURE))
    if pixels is None:
        raise ValueError(f'OpenCV {cv2.__version__} cannot read the picture {STREET_PICTURE}')
    picture = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    frame = predictor.predict(picture)
    times: list[float] = []
    while len(times) < LEAST_IMAGES or (len(times) < IMAGES and sum(times) < SECONDS):
        start = time.perf_counter()
        frame = predictor.predict(picture)
        times.append(time.perf_counter() - start)
    used = predictor.backend
    reference = reference_from_onnx(load_onnx(path), predictor.info, path)
    return {
        'model': path.name,
        'backend': used.name,
        'device': used.device,
        'precision': used.precision,
        'fallback_reason': used.fallback_reason or None,
        'load_s': round(load_s, 2),
        'images': len(times),
        'p50_ms': round(statistics.median(times) * 1e3, 1),
        'peak_memory': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        'difference': difference(frame, reference, predictor.info.labels) if reference else None,
    }


def difference(frame: PanopticFrame, reference: Reference, labels: LabelSet) -> str:
    """Return how a frame of the picture differs from the reference; empty if it does not."""
    expected = reference.semantic_map
    y, x = (
        (2 * np.arange(cells) + 1) * size // (2 * cells)
        for cells, size in zip(expected.shape, frame.semantic_map.shape, strict=True)
    )
    share = (frame.semantic_map[y[:, None], x] == expected).mean()
    wrong = (
        [f'{share:.0%} of the picture have the expected class, {LEAST_SHARE:.0%} are needed']
        if share < LEAST_SHARE
        else []
    )
    for class_id in np.flatnonzero(labels.is_thing):
        count = int((reference.class_of == class_id).sum())
        if count and class_id not in frame.segments['class_id']:
            wrong.append(f'0 x {labels.names[class_id]} in place of {count}')
    return ', '.join(wrong)


def main() -> None:
    """Print the result of the check, or the reason why there is none."""
    try:
        report = check(sys.argv[1])
    except Exception as error:
        report = {'error': reason_of(error)}
    print(json.dumps(report))


if __name__ == '__main__':
    main()
