# SPDX-License-Identifier: Apache-2.0
"""Run of the packaged model on the packaged picture, in a process of its own.

`python -m panoptic_ros.doctor.self_check BACKEND` writes a line of JSON.
"""

import hashlib
import json
import resource
import statistics
import sys
import time
from collections import Counter
from typing import Any

import cv2
import numpy as np

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.resources import STREET_PICTURE, default_model
from panoptic_ros.core.text import reason_of
from panoptic_ros.runtime.load import load

MODEL_SHA256 = '1382fa09ac1525821152a7746c5a50627d67dd0ecb1d3d8a9bb2b3db513c562e'
"""Hash of the model file whose answer is expected; other files are not compared."""

THINGS = {'car': 2, 'person': 3}
"""Number of things by class that the model finds in the picture."""

PERCENT = {'road': 22, 'pavement': 14, 'building': 40, 'vegetation': 7, 'sky': 12, 'pole': 2}
"""Share of the picture that the model gives to each stuff class, %."""

TOLERANCE = 3
"""Largest difference of a share, percentage points. Decoders of JPEG and engines differ less."""

IMAGES, SECONDS = 20, 2.0
"""Number of images that are timed, and the time after which fewer are enough."""

LEAST_IMAGES = 3


def check(backend: str) -> dict[str, Any]:
    """Load the packaged model, time it, and compare its answer with the expected one.

    Args:
        backend: as `open_backend` takes it.

    Returns:
        Backend and device in use, the times, and `difference`: empty if the answer is as expected,
        None if another model is packaged.

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
    is_known = hashlib.sha256(path.read_bytes()).hexdigest() == MODEL_SHA256
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
        'difference': difference(frame, predictor.info.labels) if is_known else None,
    }


def difference(frame: PanopticFrame, labels: LabelSet) -> str:
    """Return how a frame of the picture differs from the expected one; empty if it does not."""
    rows = frame.segments
    things = Counter(labels.names[row['class_id']] for row in rows if row['is_thing'])
    share = np.zeros(len(labels))
    np.add.at(share, rows['class_id'], rows['area'] * 100 / np.prod(frame.geometry.image_size))
    found = dict(zip(labels.names, share, strict=True))
    wrong = [
        f'{things[name]} x {name} in place of {THINGS.get(name, 0)}'
        for name in sorted({*things, *THINGS})
        if things[name] != THINGS.get(name, 0)
    ]
    wrong += [
        f'{found[name]:.0f} % {name} in place of {percent}'
        for name, percent in PERCENT.items()
        if not abs(found[name] - percent) <= TOLERANCE
    ]
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
