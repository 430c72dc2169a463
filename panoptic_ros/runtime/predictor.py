# SPDX-License-Identifier: Apache-2.0
"""Camera image in, segments out: what lies between a camera's pixels and the graph's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_info import ModelInfo, Outputs
from panoptic_ros.runtime.backend import Backend
from panoptic_ros.runtime.letterbox import Letterbox


class Predictor:
    """Runs a model on camera images of any size; one image at a time."""

    def __init__(self, backend: Backend, info: ModelInfo) -> None:
        self.backend = backend
        self.info = info
        self._letterbox = Letterbox(info)

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
            ValueError: if the image has no pixels or an unknown layout.
        """
        if isinstance(image, np.ndarray):
            image = CameraImage(image)
        pixels, geometry = self.prepare(image)
        outputs = self.run(pixels, geometry, thresholds)
        return to_frame(outputs, self.info, geometry, stamp_s, thresholds)

    def prepare(self, image: CameraImage) -> tuple[npt.NDArray[np.uint8], Geometry]:
        """Lays the image into the network's input; see `Letterbox`."""
        return self._letterbox(image)

    def run(
        self,
        pixels: npt.NDArray[np.uint8],
        geometry: Geometry,
        thresholds: Mapping[str, float] | None = None,
    ) -> Outputs:
        """Runs the graph on what `prepare` gave.

        Args:
            pixels: (H, W, 3) RGB at the input size.
            geometry: how the camera's image lies in it.
            thresholds: see `graph_thresholds`.
        """
        return self.backend.run(pixels, graph_thresholds(self.info, geometry, thresholds))


def graph_thresholds(
    info: ModelInfo, geometry: Geometry, thresholds: Mapping[str, float] | None = None
) -> dict[str, float]:
    """All thresholds of a model as its graph takes them.

    Args:
        info: the model's.
        geometry: how the camera's image lies in the input.
        thresholds: values to use in place of the model's defaults. `min_area` counts camera
            pixels here, since that is what a user sees; the graph (and with it the default in
            the file) counts input pixels, `geometry.scale` squared as many.
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
    """Cuts the padding off the graph's outputs and counts in camera pixels.

    Args:
        outputs: of one image.
        info: of the model they come from.
        geometry: how the camera's image lay in the input.
        stamp_s: time of the image, seconds.
        thresholds: those that the graph ran with, see `graph_thresholds`.

    Returns:
        A frame with a row for each valid segment that has cells on the image, and enough of
        them: the graph counts the padding too. Untracked, without metres (NaN). Rows with NaN
        or infinite numbers are left out, since a tracker would never get rid of them.
    """
    height, width = geometry.map_size
    segment_map = outputs.segment_map[:height, :width].astype(np.uint16)
    area, centroid, box, valid = outputs.area, outputs.centroid, outputs.box, outputs.valid
    is_thing = info.labels.is_thing
    numbers = np.concatenate([outputs.score[:, None], box, centroid, outputs.embedding], axis=1)
    is_finite = np.isfinite(numbers).all(axis=1)
    if not is_finite[valid].all():
        segment_map[np.isin(segment_map, np.flatnonzero(~is_finite) + 1)] = 0
        valid = valid & is_finite
    if segment_map.shape != outputs.segment_map.shape:
        area = np.bincount(segment_map.ravel(), minlength=len(area) + 1)[1:].astype(np.int32)
        valid = valid & (area > 0)
        cut = np.flatnonzero(valid & (area < outputs.area))
        values = graph_thresholds(info, geometry, thresholds)
        least = (
            np.where(
                is_thing[outputs.class_id[cut]],
                values.get('min_area', 0),
                values.get('min_stuff_area', 0),
            )
            / geometry.stride**2
        )
        small = cut[area[cut] < least]
        if small.size:
            valid[small] = False
            segment_map[np.isin(segment_map, small + 1)] = 0
        centroid, box = centroid.copy(), box.copy()
        for row in cut[valid[cut]]:
            # The rest of it lies in the padding, and all of it inside the old box.
            x1, y1, x2, y2 = box[row].astype(int)
            mask = segment_map[y1:y2, x1:x2] == row + 1
            for axis, start in ((0, x1), (1, y1)):
                count = mask.sum(axis=axis)
                places = np.flatnonzero(count)
                centroid[row, axis] = start + count @ np.arange(0.5, len(count)) / area[row]
                box[row, axis], box[row, axis + 2] = start + places[0], start + places[-1] + 1

    rows = np.flatnonzero(valid & (area > 0))
    px = np.array(geometry.px_per_cell[::-1], np.float32)  # (x, y)
    # The last cell may reach over the edge of the image.
    corners = np.minimum(box[rows].reshape(-1, 2, 2) * px, geometry.image_size[::-1])
    u, v = np.minimum(centroid[rows] * px, geometry.image_size[::-1]).T
    segments = np.zeros(len(rows), segment_dtype(outputs.embedding.shape[1]))
    for name, values in {
        'x': np.nan,
        'y': np.nan,
        'z': np.nan,
        'u': u,
        'v': v,
        'segment_id': rows + 1,
        'class_id': outputs.class_id[rows],
        'score': outputs.score[rows],
        'is_thing': is_thing[outputs.class_id[rows]],
        'bbox_x': corners[:, 0, 0],
        'bbox_y': corners[:, 0, 1],
        'bbox_w': corners[:, 1, 0] - corners[:, 0, 0],
        'bbox_h': corners[:, 1, 1] - corners[:, 0, 1],
        'area': np.rint(area[rows] * px.prod()),
        'embedding': outputs.embedding[rows],
    }.items():
        segments[name] = values
    return PanopticFrame(segment_map, segments, geometry, stamp_s)
