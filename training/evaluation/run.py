# SPDX-License-Identifier: Apache-2.0
"""Evaluation of a model, or of predictions on disk, over a data set; it can be resumed."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_ros.core.frame import PanopticFrame, without_unknown
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.image_frame import at_camera
from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.core.result_folder import open_result_folder
from panoptic_ros.metrics.panoptic import PanopticResult
from panoptic_ros.metrics.scores import ImageScores
from panoptic_ros.metrics.video import VideoScores
from panoptic_ros.metrics.video_frame import measure_frame
from panoptic_ros.runtime.predictor import Predictor
from panoptic_ros.tracking.tracker import Tracker

from ..data.sample import Reader, Sample
from .predictions import Predictions, PredictionStore
from .scoring import pair_of
from .segment_errors import SegmentError, find_errors
from .size_quality import SizeQuality

Predict = Callable[[Sample], PanopticFrame]


@dataclass(frozen=True)
class ImageScore:
    """Panoptic quality and errors of one image."""

    index: int
    result: PanopticResult
    errors: Sequence[SegmentError] = ()

    @property
    def pq(self) -> float:
        """PQ in percent; NaN for an image without labels or segments."""
        return self.result.all.pq


class Evaluation:
    """Scores of one source of predictions, in the order of the data set.

    Frames of a model are brought into the form of predictions read from disk before they are
    scored, and a resumed evaluation scores everything again, so that an interruption cannot
    change a figure. Reading is cheap compared with running a model.

    Args:
        reader: the data.
        source: function that segments a sample, or predictions on disk.
        limit: largest number of images.
        store: keeps the model's predictions; images that it holds are not predicted again.
        rate_hz: rate of the images in the reader's clips; with it things are tracked. A clip
            that was not finished is then predicted from its start.
        chosen: images to score, by index; all by default. The limit applies to these.

    Raises:
        ValueError: if tracks are asked for, and the data has no clips or the predictions have no
            track ids; if images are chosen, and these are none or tracks are scored.
    """

    def __init__(
        self,
        reader: Reader,
        source: Predict | Predictions,
        limit: int | None = None,
        store: PredictionStore | None = None,
        rate_hz: float | None = None,
        chosen: slice | None = None,
    ) -> None:
        self.reader, self.source, self.store, self.rate_hz = reader, source, store, rate_hz
        tracked = bool(rate_hz) if callable(source) else source.tracked and bool(reader.clips)
        if rate_hz and not reader.clips:
            raise ValueError('only things in video can be tracked; these are single images')
        if rate_hz and not tracked:
            raise ValueError('the predictions have no track ids')
        if chosen and tracked:
            raise ValueError('tracks are scored over complete clips, so no images can be chosen')
        images = tuple(range(len(reader)))[chosen or slice(None)]
        if not images:
            raise ValueError(f'the choice of images leaves none of {len(reader)}')
        self.parts = cut(reader.clips if tracked else (images,), limit)
        """Indices of images, in groups that are predicted in order."""
        self.count = sum(map(len, self.parts))
        self.scores = self._empty_scores()
        self.sizes = SizeQuality(reader.labels)
        self.video = VideoScores(reader.labels) if tracked else None
        self.images: list[ImageScore] = []
        self.labelled = False
        """Whether any image so far has labels; without them there are predictions only."""

    def run(self) -> Iterator[tuple[int, Sample]]:
        """Score the images, and yield index and sample of each."""
        try:
            for part in self.parts:
                tracker = self._tracker(part)
                for place, index in enumerate(part):
                    sample = self.reader.read(index, 0)
                    self._score(index, sample, self._frame(index, sample, tracker, place))
                    yield index, sample
                if self.video is not None:
                    self.video.end_clip()
        finally:
            if self.store is not None:
                self.store.save()

    def read_again(self, index: int) -> tuple[Sample, PanopticFrame]:
        """Return a sample and its prediction from disk."""
        sample = self.reader.read(index, 0)
        return sample, self._frame(index, sample, None)

    def format(self) -> str:
        """Return the printed tables."""
        if not self.labelled:
            return 'no image has labels, so there are predictions and no scores'
        text = self.scores.format()
        return text if self.video is None else (f'{text}\n\n{self.video.compute().format_table()}')

    def to_dict(self) -> dict[str, Any]:
        """Return all scores as plain values for JSON."""
        video = {} if self.video is None else {'video': self.video.compute().to_dict()}
        sizes = {size: result.to_dict()['all'] for size, result in self.sizes.compute().items()}
        return {'images': self.count, **self.scores.to_dict(), 'sizes': sizes, **video}

    def _tracker(self, part: tuple[int, ...]) -> Tracker | None:
        """Return a new tracker; None if nothing is tracked or the complete clip is on disk."""
        store = self.store
        if not self.rate_hz or (store is not None and all(index in store for index in part)):
            return None
        return Tracker()

    def _frame(
        self, index: int, sample: Sample, tracker: Tracker | None, place: int = 0
    ) -> PanopticFrame:
        """Return the prediction of a sample, the `place`-th image of its clip."""
        size = sample.class_map.shape[0], sample.class_map.shape[1]
        if not callable(self.source):
            return self.source.read(index, size)
        if tracker is None and self.store is not None and index in self.store:
            return self.store.read(index, size)
        frame = self.source(sample)
        if tracker is not None and self.rate_hz:
            frame = tracker.update(replace(frame, stamp_s=place / self.rate_hz))
        # A withheld class is neither right nor wrong.
        frame = at_camera(without_unknown(frame), self.reader.labels)
        if self.store is not None:
            self.store.write(index, frame)
        return frame

    def _score(self, index: int, sample: Sample, frame: PanopticFrame) -> None:
        """Add one image to the scores."""
        self.labelled |= bool((sample.class_map != VOID_ID).any())
        image = self._empty_scores()
        pair = pair_of(sample, frame, self.reader.labels)
        image.update(pair)
        self.scores.merge(image)
        self.sizes.update(pair)
        self.images.append(ImageScore(index, image.panoptic.compute(), find_errors(pair)))
        if self.video is not None:
            self.video.update(
                measure_frame(
                    sample.class_map,
                    sample.instance_map,
                    frame.semantic_map,
                    frame.paint(frame.segments['track_id'].astype(np.int64), 0),
                    self.reader.labels,
                )
            )

    def _empty_scores(self) -> ImageScores:
        # Average precision ranks instances by their scores; without scores it means nothing.
        return ImageScores(self.reader.labels, full=getattr(self.source, 'scored', True))

    def worst(self, n: int) -> list[ImageScore]:
        """Return the n images with the lowest PQ, the worst first."""
        scored = [image for image in self.images if not np.isnan(image.pq)]
        return sorted(scored, key=lambda image: (image.pq, image.index))[:n]


def cut(parts: Iterable[tuple[int, ...]], limit: int | None) -> tuple[tuple[int, ...], ...]:
    """Return the first `limit` indices of the parts; all without a limit."""
    kept = []
    for part in parts:
        part = part[:limit]
        limit = None if limit is None else limit - len(part)
        kept.append(part)
    return tuple(part for part in kept if part)


def model_source(predictor: Predictor, oracle: bool = False) -> Predict:
    """Return a function that segments samples as the node does, or with ground-truth boxes."""
    if oracle:
        from .oracle import make_oracle

        return make_oracle(predictor)

    def predict(sample: Sample) -> PanopticFrame:
        return predictor.predict(CameraImage(sample.image, 'rgb'), stamp_s=0)

    return predict


def open_folder(folder: Path, settings: dict[str, Any]) -> AbstractContextManager[None]:
    """Lock a folder for the results of one evaluation; see `open_result_folder`."""
    return open_result_folder(folder, settings, 'evaluate.json', 'evaluation')


def short_hash(values: Iterable[object]) -> str:
    """Return a hash of plain values, such as the names of images, in their order."""
    return hashlib.sha256(repr(list(values)).encode()).hexdigest()[:12]
