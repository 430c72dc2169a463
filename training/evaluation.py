"""Scores of a model, or of predictions on disk, over a data set; goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from panoptic_ros.files import write_json
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.image import CameraImage
from panoptic_ros.metrics.panoptic import PanopticResult
from panoptic_ros.runtime.predictor import Predictor

from .data.sample import Reader, Sample
from .frames import at_camera
from .predictions import Predictions, PredictionStore
from .scoring import Scores

Predict = Callable[[Sample], PanopticFrame]


class ImageScore(NamedTuple):
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
        count: how many images.
        store: where the model's predictions are kept; those in it are not made again.
    """

    def __init__(self, reader: Reader, source: Predict | Predictions, count: int,
                 store: PredictionStore | None = None) -> None:
        self.reader, self.source, self.count, self.store = reader, source, count, store
        self.scores = self._no_scores()
        self.images: list[ImageScore] = []

    def run(self) -> Iterator[tuple[int, Sample, PanopticFrame]]:
        """Scores image by image and yields each with its prediction at camera resolution."""
        try:
            for index in range(self.count):
                sample = self.reader.read(index, 0)
                frame = self._frame(index, sample)
                self._score(index, sample, frame)
                yield index, sample, frame
        finally:
            if self.store is not None:
                self.store.save()

    def again(self, index: int) -> tuple[Sample, PanopticFrame]:
        """A sample and its prediction once more, where predictions are on disk."""
        sample = self.reader.read(index, 0)
        return sample, self._frame(index, sample)

    def _frame(self, index: int, sample: Sample) -> PanopticFrame:
        size = sample.class_map.shape[0], sample.class_map.shape[1]
        if not callable(self.source):
            return self.source.read(index, size)
        if self.store is not None and index in self.store:
            return self.store.read(index, size)
        frame = at_camera(self.source(sample), self.reader.labels)
        if self.store is not None:
            self.store.write(index, frame)
        return frame

    def _score(self, index: int, sample: Sample, frame: PanopticFrame) -> None:
        image = self._no_scores()
        image.update(sample, frame)
        self.scores.merge(image)
        self.images.append(ImageScore(index, image.panoptic.result()))

    def _no_scores(self) -> Scores:
        # Average precision ranks instances: it says nothing where none has a score.
        return Scores(self.reader.labels, full=getattr(self.source, 'scored', True))

    def worst(self, n: int) -> list[ImageScore]:
        """The n images of the lowest PQ, the worst first."""
        scored = [image for image in self.images if not np.isnan(image.pq)]
        return sorted(scored, key=lambda image: (image.pq, image.index))[:n]


def model_source(predictor: Predictor, oracle: bool = False) -> Predict:
    """What segments samples with a model, as the node does; or with the truth's boxes."""
    if oracle:
        from .oracle import make_oracle

        return make_oracle(predictor)

    def predict(sample: Sample) -> PanopticFrame:
        return predictor.predict(CameraImage(sample.image, 'rgb'), stamp_s=0)

    return predict


def claim(folder: Path, what: dict[str, Any]) -> None:
    """Takes a folder for the results of one evaluation, or goes on with it.

    Args:
        folder: is made where it is missing.
        what: all that predictions depend on, as plain values.

    Raises:
        ValueError: if the folder holds results of something else.
    """
    path = folder / 'evaluate.json'
    if path.is_file():
        try:
            old = dict(json.loads(path.read_text(encoding='utf-8')))
        except (TypeError, ValueError):
            raise ValueError(f'{path} is damaged; choose another folder or delete it') from None
        for key in what | old:
            if old.get(key) != what.get(key):
                raise ValueError(f'{folder} holds the evaluation of another {key}, '
                                 f'{old.get(key)} there and {what.get(key)} here; '
                                 'choose another folder or delete it')
    elif folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f'{folder} is not empty and not of an evaluation; choose another folder')
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(what, path)


def names_hash(reader: Reader) -> str:
    """Tells data sets apart by the names and number of their images."""
    return hashlib.sha256(repr(list(reader.image_ids)).encode()).hexdigest()[:12]
