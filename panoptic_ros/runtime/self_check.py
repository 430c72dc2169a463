# SPDX-License-Identifier: Apache-2.0
"""Comparison of an engine's answer with the reference in the model file.

An engine may build or load without an error and still compute something else: a fault of one of
its versions, a damaged engine file, a driver that does not fit.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.files import atomic_write
from panoptic_ros.core.model_file import ModelFileError, append_metadata, file_hash
from panoptic_ros.core.model_info import ModelInfo, Outputs
from panoptic_ros.core.reference import Reference, reference_of, scale_image
from panoptic_ros.core.resources import STREET_PICTURE
from panoptic_ros.runtime.backend import Backend, BackendError
from panoptic_ros.runtime.batch import Run, run_images
from panoptic_ros.runtime.providers import plugin_version
from panoptic_ros.runtime.trial import check_outputs

IMAGE_SIZE = 72, 128
"""(height, width) of the test image, px: a size at which the packaged model still finds cars."""

COLOR_STEP = 16
"""Step between the values of the test image, so that it takes 4 kB."""

BRIGHTER = 4
"""Difference of brightness that must not change a reference. Of the packaged model it changes
0.3 % of the cells, and half precision 0.1 %."""

LEAST_AREA = 0.001
"""Share of the map from which a segment counts; whether a smaller one is found may depend on
rounding."""

LEAST_CLASSES, LEAST_SEGMENTS = 0.95, 0.8
"""Smallest share of cells of the reference's class, and of segments that are in both answers.

With the packaged model engines reach 1.00 in float32, 0.998 in float16 and 0.990 in bfloat16, and
the same segments; an answer without instances has 0.75 of the segments, one that is shifted by two
cells 0.920 of the classes.
"""


class WrongAnswerError(BackendError):
    """An engine that computes something else than the reference in the model file."""


class Agreement(NamedTuple):
    """Agreement of two answers for one image, shares from 0 to 1."""

    classes: float
    """Cells with the same class."""

    segments: float
    """Segments of either answer that have one of the same class with an IoU over 0.5 in the other;
    1 if neither has segments."""


def write_with_reference(graph: bytes, info: ModelInfo, path: Path) -> None:
    """Write a graph, its metadata and its answer for a test image as a model file, atomically.

    ONNX Runtime reads the graph from the new file, since it would keep a copy of the bytes beside
    the weights: a large network takes several times its size anyway.

    Args:
        graph: a serialised onnx.ModelProto with its weights and without metadata.
        info: its description.
        path: of the new file; ends in .onnx.

    Raises:
        ModelFileError: if the outputs do not agree with the description.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(graph)
        append_metadata(temporary, info, make_reference(temporary, info))


def make_reference(
    graph: Path | bytes, info: ModelInfo, image: npt.NDArray[np.uint8] | None = None
) -> Reference | None:
    """Run a graph in ONNX Runtime on the CPU, and return its answer for a test image.

    Args:
        graph: an ONNX file, or its bytes.
        info: its description.
        image: (h, w, 3) RGB, see `Reference.image`; None is the packaged street, made small.

    Returns:
        The reference; None if a slightly brighter image changes the answer as much as a wrong
        engine may. The answer then depends on rounding, as that of untrained weights does.

    Raises:
        ModelFileError: if the outputs do not agree with the description.
    """
    import onnxruntime as ort

    from panoptic_ros.runtime.onnxruntime_backend import open_session

    source = graph if isinstance(graph, bytes) else str(graph)
    session = open_session(source, 'cpu', None, keep_memory=False)

    def run(pixels: npt.NDArray[np.uint8], thresholds: Mapping[str, Any]) -> Outputs:
        scalars = {name: np.array(value, np.float32) for name, value in thresholds.items()}
        return Outputs(*session.run(None, {'image': pixels, **scalars}))

    def answer(pixels: npt.NDArray[np.uint8]) -> Reference:
        outputs = _run_test_image(run, info, pixels)
        check_outputs(outputs, info)
        return reference_of(outputs, info, pixels, f'onnxruntime {ort.__version__}')

    image = small_street() if image is None else image
    reference = answer(image)
    brighter = answer(np.minimum(image, 255 - BRIGHTER) + np.uint8(BRIGHTER))
    return reference if is_same(agreement(brighter, reference)) else None


def small_street() -> npt.NDArray[np.uint8]:
    """Return the packaged picture of a street, small and with few values, (h, w, 3) RGB."""
    pixels = cv2.imread(str(STREET_PICTURE))
    if pixels is None:
        raise ValueError(f'OpenCV {cv2.__version__} cannot read the picture {STREET_PICTURE}')
    small = cv2.resize(pixels, IMAGE_SIZE[::-1], interpolation=cv2.INTER_AREA)
    rgb = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
    return (rgb // COLOR_STEP * COLOR_STEP + COLOR_STEP // 2).astype(np.uint8)


def agreement(answer: Reference, reference: Reference) -> Agreement:
    """Compare two answers of a model for one image."""
    # One number per cell: sorting pairs takes ten times as long, and keeps the images of a running
    # node waiting for Python's lock.
    ids = max(len(answer.class_of), len(reference.class_of))
    pairs, cells = np.unique(
        answer.segment_map.ravel().astype(np.int64) * ids + reference.segment_map.ravel(),
        return_counts=True,
    )
    ours, theirs = np.divmod(pairs, ids)
    our_cells, their_cells = (np.bincount(ids, cells) for ids in (ours, theirs))
    # A segment has an IoU over a half with one other segment at most.
    is_match = (ours > 0) & (theirs > 0)
    is_match &= 3 * cells > our_cells[ours] + their_cells[theirs]
    is_match &= answer.class_of[ours] == reference.class_of[theirs]
    least = LEAST_AREA * cells.sum()
    large = sum(int((area[1:] >= least).sum()) for area in (our_cells, their_cells))
    matched = sum(
        int((area[ids[is_match]] >= least).sum())
        for ids, area in ((ours, our_cells), (theirs, their_cells))
    )
    return Agreement(
        float((answer.semantic_map == reference.semantic_map).mean()),
        matched / large if large else 1.0,
    )


def is_same(found: Agreement) -> bool:
    """Return whether two answers agree as well as those of right engines do."""
    return found.classes >= LEAST_CLASSES and found.segments >= LEAST_SEGMENTS


def check_answer(backend: Backend, info: ModelInfo, reference: Reference, path: Path) -> Agreement:
    """Compare an engine's answer for the test image with the reference in the model file.

    Args:
        backend: a loaded model file.
        info: the file's description.
        reference: of the file.
        path: of the file, for the message.

    Returns:
        How far they agree.

    Raises:
        WrongAnswerError: if the answer is another one, or its shapes and ranges are wrong; names
            the versions.
    """
    outputs = _run_test_image(backend.run, info, reference.image)
    try:
        check_outputs(outputs, info)
    except ModelFileError as error:
        found = str(error)
    else:
        answer = reference_of(outputs, info, reference.image, engine_version(backend))
        shares = agreement(answer, reference)
        if is_same(shares):
            return shares
        found = (
            f'{shares.classes:.0%} of the test image have the same class and '
            f'{shares.segments:.0%} of the segments are the same, expected at least '
            f'{LEAST_CLASSES:.0%} and {LEAST_SEGMENTS:.0%}'
        )
    raise WrongAnswerError(
        f'{engine_version(backend)} in {backend.precision} on {backend.device} computes something '
        f'else than {reference.engine} did when the model file {path} ({file_hash(path)}) was '
        f'made: {found}; install another version of it or set another backend'
    )


def _run_test_image(run: Run, info: ModelInfo, image: npt.NDArray[np.uint8]) -> Outputs:
    """Return the outputs for a test image (h, w, 3), the last one of a batch of this image."""
    thresholds = {name: threshold.default for name, threshold in info.thresholds.items()}
    pixels = [scale_image(image, info)] * info.batch
    return run_images(run, info, pixels, [thresholds] * info.batch)[-1]


def engine_version(backend: Backend) -> str:
    """Return a backend with the version of its library, e.g. `torch/eager of torch 2.6.0`."""
    library, _, variant = backend.name.partition('/')
    version = getattr(sys.modules.get(library), '__version__', 'of an unknown version')
    plugin = plugin_version(variant) if library == 'onnxruntime' else ''
    return f'{backend.name}{f" {plugin}" if plugin else ""} of {library} {version}'
