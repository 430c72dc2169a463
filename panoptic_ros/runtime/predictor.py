# SPDX-License-Identifier: Apache-2.0
"""Prediction: from a camera image through the graph to a frame in camera pixels."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.extent import camera_columns, extent_of
from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype, zero_on_void
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_info import ModelInfo, Outputs
from panoptic_ros.core.settings import MAX_SHOWN
from panoptic_ros.core.text import one_line
from panoptic_ros.runtime.backend import Backend
from panoptic_ros.runtime.batch import run_images
from panoptic_ros.runtime.letterbox import Letterbox


class NetworkInput(NamedTuple):
    """Image in the network's input, and the thresholds for it."""

    pixels: npt.NDArray[np.uint8]
    """(H, W, 3) RGB of the input size."""

    geometry: Geometry
    """Geometry of the camera image in it."""

    thresholds: Mapping[str, float] | None = None
    """See `graph_thresholds`."""


class Predictor:
    """A model that segments camera images of any size, one image at a time."""

    def __init__(self, backend: Backend, info: ModelInfo) -> None:
        self.backend = backend
        self.info = info
        self.prepare = Letterbox(info)
        """Scales an image into the network's input."""

    def predict(
        self,
        image: CameraImage | npt.NDArray[np.uint8],
        stamp_s: float = 0.0,
        thresholds: Mapping[str, float] | None = None,
    ) -> PanopticFrame:
        """Segment one image; the segments are not tracked.

        Args:
            image: a camera image, or (H, W, 3) uint8 RGB.
            stamp_s: time of the image, seconds.
            thresholds: values in place of the model's own, see `graph_thresholds`.

        Raises:
            TypeError: if the image is neither an array nor a `CameraImage`.
            ValueError: if the image has no pixels or an unknown layout.
        """
        if isinstance(image, np.ndarray):
            image = CameraImage(image)
        if not isinstance(image, CameraImage) or not isinstance(image.pixels, np.ndarray):
            raise TypeError(
                'predict expects an image as (H, W, 3) uint8 RGB array or CameraImage, got '
                f'{one_line(repr(image), MAX_SHOWN)}; read a file with cv2.imread, which returns '
                "None for a file that it cannot read, and give CameraImage(pixels, 'bgr')"
            )
        pixels, geometry = self.prepare(image)
        outputs = self.run(pixels, geometry, thresholds)
        return to_frame(outputs, self.info, geometry, stamp_s, thresholds)

    def run(
        self,
        pixels: npt.NDArray[np.uint8],
        geometry: Geometry,
        thresholds: Mapping[str, float] | None = None,
    ) -> Outputs:
        """Run the graph on the result of `prepare`.

        Args:
            pixels: (H, W, 3) uint8 RGB of the input size.
            geometry: geometry of the camera image in it.
            thresholds: see `graph_thresholds`.
        """
        return self.run_together([NetworkInput(pixels, geometry, thresholds)])[0]

    def run_together(self, inputs: Sequence[NetworkInput]) -> list[Outputs]:
        """Run the graph on several images, `info.batch` at once.

        Returns:
            The outputs of each image.
        """
        return run_images(
            self.backend.run,
            self.info,
            [one.pixels for one in inputs],
            [graph_thresholds(self.info, one.geometry, one.thresholds) for one in inputs],
        )


def graph_thresholds(
    info: ModelInfo, geometry: Geometry, thresholds: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return a value for each threshold of the graph, in the graph's units.

    Args:
        info: the model's description.
        geometry: geometry of the camera image in the input.
        thresholds: values in place of the model's defaults. `min_area` is in camera pixels here,
            which users see. The graph and the default in the file count input pixels: the factor
            is `geometry.scale` squared.
    """
    values = dict(thresholds or {})
    if 'min_area' in values:
        values['min_area'] *= geometry.scale**2
    return {name: value.default for name, value in info.thresholds.items()} | values


def to_frame(
    outputs: Outputs,
    info: ModelInfo,
    geometry: Geometry,
    stamp_s: float,
    thresholds: Mapping[str, float] | None = None,
) -> PanopticFrame:
    """Remove the padding from the graph's outputs, and convert cells to camera pixels.

    Args:
        outputs: the graph's outputs for one image.
        info: the model's description.
        geometry: geometry of the camera image in the input.
        stamp_s: time of the image, seconds.
        thresholds: as given to `graph_thresholds`.

    Returns:
        An untracked frame without positions in metres (NaN). It has a row for each valid segment
        whose area on the image is not 0 and not below the minimum; the graph also counts cells in
        the padding. Rows with NaN or infinite numbers are dropped, since a tracker would keep
        them for ever. A segment that is too unsure for its class, see `ModelInfo.unknown`, is
        unknown and remains a thing or stuff.
    """
    height, width = geometry.map_size
    area, centroid, box = outputs.area, outputs.centroid.copy(), outputs.box.copy()
    is_thing = info.network_labels.is_thing
    numbers = np.concatenate([outputs.score[:, None], box, centroid, outputs.embedding], axis=1)
    valid = outputs.valid & np.isfinite(numbers).all(axis=1)
    cut = np.zeros(0, np.intp)
    if geometry.map_size != outputs.segment_map.shape:
        # The cells of the padding are counted, because they are fewer than those of the image.
        padding = np.append(outputs.segment_map[height:], outputs.segment_map[:height, width:])
        removed = np.bincount(_known_ids(padding, valid), minlength=len(area) + 1)[1:]
        area = area - removed
        cut = np.flatnonzero(valid & (removed > 0))
        values = graph_thresholds(info, geometry, thresholds)
        least = (
            np.where(
                is_thing[outputs.class_id[cut]],
                values.get('min_area', 0),
                values.get('min_stuff_area', 0),
            )
            / geometry.stride**2
        )
        valid[cut[area[cut] < least]] = False
    segment_map = _known_ids(outputs.segment_map[:height, :width], valid & (area > 0))
    for row in cut[valid[cut] & (area[cut] > 0)].tolist():
        # The rest of the segment is padding. What remains is inside the old box.
        x1, y1, x2, y2 = box[row].astype(int).tolist()
        mask = segment_map[y1:y2, x1:x2] == row + 1
        if np.count_nonzero(mask) != area[row]:  # a graph with wrong boxes or areas
            x1, y1, mask = 0, 0, segment_map == row + 1
            area[row] = np.count_nonzero(mask)
            if area[row] == 0:
                continue
        extent = extent_of(mask, int(area[row]))
        centroid[row] = np.add(extent.centroid, (x1, y1))
        box[row] = np.add(extent.box, (x1, y1, x1, y1))

    rows = np.flatnonzero(valid & (area > 0))
    class_id, score = outputs.class_id[rows], outputs.score[rows]
    segments = np.zeros(len(rows), segment_dtype(outputs.embedding.shape[1]))
    columns: dict[str, Any] = {
        'x': np.nan,
        'y': np.nan,
        'z': np.nan,
        'segment_id': rows + 1,
        'class_id': published_classes(class_id, score, info),
        'score': score,
        'is_thing': is_thing[class_id],
        'embedding': outputs.embedding[rows],
        **camera_columns(geometry, area[rows], centroid[rows], box[rows]),
    }
    for name, column in columns.items():
        segments[name] = column
    confidence_map = outputs.confidence
    if confidence_map is not None:
        confidence_map = zero_on_void(confidence_map[:height, :width], segment_map)
    return PanopticFrame(segment_map, segments, geometry, stamp_s, info.unknown_id, confidence_map)


def published_classes(
    class_id: npt.NDArray[np.int32], score: npt.NDArray[np.float32], info: ModelInfo
) -> npt.NDArray[np.int32]:
    """Return the classes of segments, unknown where the score is below the least of the class.

    Args:
        class_id: (S,) class ids of the network.
        score: (S,).
        info: the model's description.
    """
    if info.unknown_id is None:
        return class_id
    least = np.array([info.unknown.get(name, 0) for name in info.labels.names], np.float32)
    return np.where(score < least[class_id], np.int32(info.unknown_id), class_id)


def _known_ids(
    segment_map: npt.NDArray[np.integer], valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint16]:
    """Replace the ids of a map that have no valid row by void, 0.

    Args:
        segment_map: segment ids of any shape, each the index of its row plus 1.
        valid: (K,) which rows are valid.

    Returns:
        A map of the same shape.
    """
    ids = np.flatnonzero(valid) + 1
    table = np.zeros(len(valid) + 2, np.uint16)
    table[ids] = ids
    # A faulty graph may have larger ids than rows: they count as the last one of the table.
    return table.take(segment_map, mode='clip')
