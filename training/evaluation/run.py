# SPDX-License-Identifier: Apache-2.0
"""Scores of a model, or of predictions on disk, over a data set; goes on where it was stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_ros.core.documents import read_json
from panoptic_ros.core.files import LOCK_NAME, TEMPORARY, lock_folder, write_json
from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.metrics.panoptic import PanopticResult
from panoptic_ros.metrics.scores import ImageScores
from panoptic_ros.metrics.video import VideoScores
from panoptic_ros.metrics.video_frame import measure_frame
from panoptic_ros.runtime.predictor import Predictor
from panoptic_ros.tracking.tracker import Tracker

from ..data.sample import Reader, Sample
from .frames import at_camera
from .predictions import Predictions, PredictionStore
from .scoring import pair_of

Predict = Callable[[Sample], PanopticFrame]


@dataclass(frozen=True)
class ImageScore:
    """How well one image was segmented."""

    index: int
    result: PanopticResult

    @property
    def pq(self) -> float:
        """Percent; NaN for an image without labels or segments."""
        return self.result.all.pq


class Evaluation:
    """Collects the scores of one source of predictions, in the order of the data set.

    The model's frames take the same form as predictions read from disk before they are scored,
    and everything is scored again when an evaluation goes on, so that an interruption cannot
    change a figure. Reading is cheap beside a model.

    Args:
        reader: the data.
        source: what segments a sample, or predictions on disk.
        limit: how many images at most.
        store: where the model's predictions are kept; those in it are not made again.
        rate_hz: follow things through the reader's clips, whose images come at this rate. A clip
            that was not finished is then predicted from its start.

    Raises:
        ValueError: if there is nothing to follow things through.
    """

    def __init__(
        self,
        reader: Reader,
        source: Predict | Predictions,
        limit: int | None = None,
        store: PredictionStore | None = None,
        rate_hz: float | None = None,
    ) -> None:
        self.reader, self.source, self.store, self.rate_hz = reader, source, store, rate_hz
        tracked = bool(rate_hz) if callable(source) else source.tracked and bool(reader.clips)
        if rate_hz and not reader.clips:
            raise ValueError('only things in video can be tracked; these are single images')
        if rate_hz and not tracked:
            raise ValueError('the predictions have no track ids')
        self.parts = cut(reader.clips if tracked else (tuple(range(len(reader))),), limit)
        """Indices, in groups that are predicted one image after the other."""
        self.count = sum(map(len, self.parts))
        self.scores = self._no_scores()
        self.video = VideoScores(reader.labels) if tracked else None
        self.images: list[ImageScore] = []

    def run(self) -> Iterator[tuple[int, Sample]]:
        """Scores image by image and yields each."""
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

    def again(self, index: int) -> tuple[Sample, PanopticFrame]:
        """A sample and its prediction once more, where predictions are on disk."""
        sample = self.reader.read(index, 0)
        return sample, self._frame(index, sample, None)

    def format(self) -> str:
        """Tables for people."""
        text = self.scores.format()
        return text if self.video is None else (f'{text}\n\n{self.video.compute().format_table()}')

    def to_dict(self) -> dict[str, Any]:
        """All scores as plain values for JSON."""
        video = {} if self.video is None else {'video': self.video.compute().to_dict()}
        return {'images': self.count, **self.scores.to_dict(), **video}

    def _tracker(self, part: tuple[int, ...]) -> Tracker | None:
        """A new one, unless nothing is tracked or the whole clip is on disk."""
        store = self.store
        if not self.rate_hz or (store is not None and all(index in store for index in part)):
            return None
        return Tracker()

    def _frame(
        self, index: int, sample: Sample, tracker: Tracker | None, place: int = 0
    ) -> PanopticFrame:
        size = sample.class_map.shape[0], sample.class_map.shape[1]
        if not callable(self.source):
            return self.source.read(index, size)
        if tracker is None and self.store is not None and index in self.store:
            return self.store.read(index, size)
        frame = self.source(sample)
        if tracker is not None and self.rate_hz:
            frame = tracker.update(replace(frame, stamp_s=place / self.rate_hz))
        frame = at_camera(frame, self.reader.labels)
        if self.store is not None:
            self.store.write(index, frame)
        return frame

    def _score(self, index: int, sample: Sample, frame: PanopticFrame) -> None:
        image = self._no_scores()
        image.update(pair_of(sample, frame, self.reader.labels))
        self.scores.merge(image)
        self.images.append(ImageScore(index, image.panoptic.compute()))
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

    def _no_scores(self) -> ImageScores:
        # Average precision ranks instances: it says nothing where none has a score.
        return ImageScores(self.reader.labels, full=getattr(self.source, 'scored', True))

    def worst(self, n: int) -> list[ImageScore]:
        """The n images of the lowest PQ, the worst first."""
        scored = [image for image in self.images if not np.isnan(image.pq)]
        return sorted(scored, key=lambda image: (image.pq, image.index))[:n]


def cut(parts: Iterable[tuple[int, ...]], limit: int | None) -> tuple[tuple[int, ...], ...]:
    """The first `limit` indices of the parts; all without a limit."""
    kept = []
    for part in parts:
        part = part[:limit]
        limit = None if limit is None else limit - len(part)
        kept.append(part)
    return tuple(part for part in kept if part)


def model_source(predictor: Predictor, oracle: bool = False) -> Predict:
    """What segments samples with a model, as the node does; or with the truth's boxes."""
    if oracle:
        from .oracle import make_oracle

        return make_oracle(predictor)

    def predict(sample: Sample) -> PanopticFrame:
        return predictor.predict(CameraImage(sample.image, 'rgb'), stamp_s=0)

    return predict


@contextmanager
def claim(folder: Path, what: dict[str, Any]) -> Iterator[None]:
    """Takes a folder for the results of one evaluation, or resumes it; locks it meanwhile.

    Args:
        folder: is made where it is missing.
        what: all that predictions depend on, as plain values.

    Raises:
        ValueError: if the folder holds results of something else or another process works in it.
    """
    _require_same(folder, what)  # before the lock leaves a file in a folder of something else
    with lock_folder(folder, 'evaluation'):
        if not _require_same(folder, what):
            write_json(what, folder / 'evaluate.json')
        yield


def _require_same(folder: Path, what: dict[str, Any]) -> bool:
    """Whether the folder holds results of this evaluation already; those of others are refused."""
    path = folder / 'evaluate.json'
    if path.is_file():
        try:
            old = dict(read_json(path))
        except (TypeError, ValueError):
            raise ValueError(f'{path} is damaged; choose another folder or delete it') from None
        for key in what | old:
            if old.get(key) != what.get(key):
                raise ValueError(
                    f'{folder} holds the evaluation of another {key}, '
                    f'{old.get(key)} there and {what.get(key)} here; '
                    'choose another folder or delete it'
                )
        return True
    if folder.is_dir() and any(
        file.name != LOCK_NAME and not file.name.startswith(TEMPORARY) for file in folder.iterdir()
    ):
        raise ValueError(f'{folder} is not empty and not of an evaluation; choose another folder')
    return False


def names_hash(reader: Reader) -> str:
    """Tells data sets apart by the names and number of their images."""
    return hashlib.sha256(repr(list(reader.image_ids)).encode()).hexdigest()[:12]
