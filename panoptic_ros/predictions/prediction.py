# SPDX-License-Identifier: Apache-2.0
"""Prediction for one image, with what users show of it."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.coco_format import categories, run_lengths, segments_info
from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.image_frame import at_camera
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.overlay import draw_overlay
from panoptic_ros.core.text import one_line
from panoptic_ros.predictions.inputs import Clip, Still, find_inputs, read_frame
from panoptic_ros.runtime.load import load
from panoptic_ros.runtime.predictor import Predictor
from panoptic_ros.tracking.tracker import Tracker

Pixels = npt.NDArray[np.uint8]
Image = str | Path | Pixels | CameraImage


@dataclass(frozen=True)
class Prediction:
    """Segments of one image, and the image."""

    name: str
    """Name of the file, `drive.mp4/000012.jpg` for a frame of a video; empty for an array."""

    image: CameraImage
    frame: PanopticFrame
    labels: LabelSet
    """The model's classes."""

    predict_s: float
    """Time from the image to the segments, seconds."""

    def overlay(self) -> Pixels:
        """Return the image with segments and a legend drawn on it, (H, W, 3) RGB."""
        return draw_overlay(self.image, self.frame, self.labels)

    def describe(self) -> str:
        """Return what the image shows: things with their number, then stuff, the most first."""
        rows = self.frame.segments
        rows = rows[np.isin(rows['segment_id'], self.frame.segment_map)]
        names, is_thing = self.labels.names, rows['is_thing'] == 1
        counts = Counter(rows['class_id'][is_thing].tolist())
        things = [f'{number} {names[i]}' for i, number in counts.most_common()]
        stuff = rows[~is_thing]
        order = np.argsort(-stuff['area'].astype(np.int64), kind='stable')
        classes = dict.fromkeys(stuff['class_id'][order].tolist())
        return ', '.join(things + [names[i] for i in classes]) or 'no segments'

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction in COCO's panoptic format, with masks in place of a PNG."""
        frame = at_camera(self.frame, self.labels)
        height, width = frame.segment_map.shape
        info = [
            segment | {'segmentation': run_lengths(frame.segment_map == segment['id'])}
            for segment in segments_info(frame, self.labels)
        ]
        return {
            'images': [{'id': 0, 'file_name': self.name, 'height': height, 'width': width}],
            'annotations': [{'image_id': 0, 'segments_info': info}],
            'categories': categories(self.labels),
        }

    def line(self) -> str:
        """Return a line with name, size, time and `describe`."""
        height, width = self.frame.geometry.image_size
        return (
            f'{one_line(self.name)}  {width}x{height}  {1e3 * self.predict_s:.0f} ms  '
            f'{self.describe()}'
        )


def predict(
    images: Image | Iterable[Image],
    model: str | Path | Predictor | None = None,
    track: bool = False,
) -> Iterator[Prediction]:
    """Segment images, one after the other as the result is consumed.

    Args:
        images: an image or several: paths of image files, videos and folders of images; arrays
            (H, W, 3) uint8 RGB; or `CameraImage`.
        model: a model file, or what `load` returns; None is the model in the package.
        track: whether things get ids that last through a video, or through a folder of images.

    Yields:
        A prediction for each image.

    Example:
        >>> import panoptic_ros
        >>> for prediction in panoptic_ros.predict(['street.jpg']):
        ...     print(prediction.name, prediction.overlay().shape)
        street.jpg (480, 960, 3)

    Raises:
        OSError: if a file does not exist or cannot be read.
        TypeError: if an image is none of these.
        ValueError: if a file is not an image or a video, or an array cannot be tracked.
        BackendError: if the model cannot be run.
    """
    predictor = model if isinstance(model, Predictor) else load(model)
    if isinstance(images, (str, Path, np.ndarray, CameraImage)):
        images = [images]
    for image in images:
        if not isinstance(image, (str, Path)):
            if track:
                raise ValueError(
                    'only a video or a folder of images can be tracked here; give the frames of '
                    'arrays to a Tracker'
                )
            yield predict_image(predictor, image)
            continue
        for source in find_inputs([Path(image)], track):
            if isinstance(source, Still):
                yield predict_image(predictor, source.read(), source.name)
                continue
            for result in predict_clip(predictor, source, track):
                if isinstance(result, ValueError):
                    raise result
                yield result


def predict_image(predictor: Predictor, image: Any, name: str = '') -> Prediction:
    """Segment one image that is in memory."""
    start = time.monotonic()
    frame = predictor.predict(image)
    seconds = time.monotonic() - start
    if isinstance(image, np.ndarray):
        image = CameraImage(image)
    return Prediction(name, image, frame, predictor.info.labels, seconds)


def predict_clip(
    predictor: Predictor, clip: Clip, track: bool
) -> Iterator[Prediction | ValueError]:
    """Segment the frames of a clip, and yield an error for a frame that cannot be read."""
    tracker = Tracker() if track else None
    for file, timed in clip.images():
        try:
            image = read_frame(timed.image)
        except ValueError as error:
            yield ValueError(f'{clip.name}/{file}: {error}')
            continue
        start = time.monotonic()
        frame = predictor.predict(image, timed.time_s or 0.0)
        if tracker is not None:
            frame = tracker.update(frame)
        seconds = time.monotonic() - start
        yield Prediction(f'{clip.name}/{file}', image, frame, predictor.info.labels, seconds)
